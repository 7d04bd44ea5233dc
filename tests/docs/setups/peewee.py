"""A kiosk's models."""

from peewee import CharField, ForeignKeyField, Model, SqliteDatabase

database = SqliteDatabase("kiosk.sqlite")


class Magazine(Model):
    title = CharField()

    class Meta:
        database = database


class Copy(Model):
    magazine = ForeignKeyField(Magazine)

    class Meta:
        database = database


def fetch_copies(pks):
    return list(Copy.select().where(Copy.id << pks))


database.create_tables([Magazine, Copy])


def after():
    assert len(slimjobs.Queue("prints", connection=redis)) == 1
