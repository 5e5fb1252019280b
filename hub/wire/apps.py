from django.apps import AppConfig


class WireConfig(AppConfig):
    """The Hugging Face Hub's protocol; everything it changes is changed through the services of other apps."""

    name = "hub.wire"
