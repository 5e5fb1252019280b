"""The tables that words are looked up in; what each database offers for it (hub/catalog/words)."""

from django.apps.registry import Apps
from django.db import DatabaseError, migrations, transaction
from django.db.backends.base.schema import BaseDatabaseSchemaEditor

SQLITE = [
    "CREATE VIRTUAL TABLE catalog_text USING fts5(name, text, tokenize = 'porter unicode61', prefix = '3 4')",
    "CREATE VIRTUAL TABLE catalog_trigram USING fts5(word, tokenize = 'trigram', detail = 'none')",
    # Spaces around a word make trigrams of its ends, so that short words have some.
    "CREATE TRIGGER catalog_word_added AFTER INSERT ON catalog_word BEGIN "
    "INSERT OR REPLACE INTO catalog_trigram (rowid, word) VALUES (new.id, '  ' || new.text || ' '); END",
]
POSTGRES = [
    # No foreign key: what is left of a removed item is an id that no search knows.
    "CREATE TABLE catalog_text (item_id bigint PRIMARY KEY, vector tsvector NOT NULL)",
    "CREATE INDEX catalog_text_vector ON catalog_text USING gin (vector)",
]


def make(apps: Apps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    if schema_editor.connection.vendor == "sqlite":
        for statement in SQLITE:
            schema_editor.execute(statement)
        return
    for statement in POSTGRES:
        schema_editor.execute(statement)
    try:
        with transaction.atomic(using=schema_editor.connection.alias):
            schema_editor.execute("CREATE EXTENSION IF NOT EXISTS pg_trgm")
            schema_editor.execute("CREATE INDEX catalog_word_trigram ON catalog_word USING gin (text gin_trgm_ops)")
    except DatabaseError:
        pass  # not installed, or not ours to install: the search does with less, and `check` says so


def drop(apps: Apps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    if schema_editor.connection.vendor == "sqlite":
        for statement in ("DROP TRIGGER catalog_word_added", "DROP TABLE catalog_trigram", "DROP TABLE catalog_text"):
            schema_editor.execute(statement)
        return
    schema_editor.execute("DROP INDEX IF EXISTS catalog_word_trigram")
    schema_editor.execute("DROP TABLE catalog_text")


class Migration(migrations.Migration):
    dependencies = [("catalog", "0001_initial")]
    operations = [migrations.RunPython(make, drop)]
