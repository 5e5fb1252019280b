"""Runs from before this know the repository they are of by its name alone, and not whether its namespace paid."""

from typing import Any

from django.db import migrations


def find(apps: Any, schema_editor: Any) -> None:
    Run = apps.get_model("boards", "Run")
    Repository = apps.get_model("repos", "Repository")
    Membership = apps.get_model("accounts", "Membership")
    for run in Run.objects.filter(repository=None).iterator():
        owner, _, name = run.submission.partition("#")[0].rpartition("/")
        found = Repository.objects.filter(namespace__name=owner, name=name, kind=run.kind).first()
        if found is None:
            key = f"{owner}/{name}".lower()
            types = ("model", "dataset", "space")
            found = Repository.objects.filter(
                former_names__key__in=[f"{each}s/{key}" for each in types], kind=run.kind
            ).first()
        if found is not None:
            members = Membership.objects.filter(organisation=found.namespace_id, user=run.account)
            run.repository = found
            run.speaks = found.namespace.owner_id == run.account or members.exists()
            run.save(update_fields=["repository", "speaks"])


class Migration(migrations.Migration):
    dependencies = [
        ("boards", "0006_boards_outlive_tasks"),
        ("accounts", "0008_token_addresses"),
        ("repos", "0007_proposers_pay_and_tokens_upload"),
    ]

    operations = [migrations.RunPython(find, migrations.RunPython.noop)]
