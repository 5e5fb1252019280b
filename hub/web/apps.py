from django.apps import AppConfig


class WebConfig(AppConfig):
    """The pages. They have no tables of their own."""

    name = "hub.web"
    label = "web"
