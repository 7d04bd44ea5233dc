"""Newsletters and emails in SQLAlchemy, for the pages."""

from __future__ import annotations

from sqlalchemy import ForeignKey
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship


class Base(DeclarativeBase):
    pass


class Newsletter(Base):
    __tablename__ = "newsletter"

    id: Mapped[int] = mapped_column(primary_key=True)


class Email(Base):
    __tablename__ = "email"

    id: Mapped[int] = mapped_column(primary_key=True)
    newsletter_id: Mapped[int | None] = mapped_column(ForeignKey("newsletter.id"))
    subject: Mapped[str] = mapped_column(default="")
    status: Mapped[str] = mapped_column(default="")
    html: Mapped[str] = mapped_column(default="")
    newsletter: Mapped[Newsletter | None] = relationship()
