from django.apps import AppConfig


class XetConfig(AppConfig):
    name = "hub.xet"
    label = "xet"
    default_auto_field = "django.db.models.BigAutoField"
