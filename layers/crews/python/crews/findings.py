"""What a review is made of: findings, measures and the decision of a person."""

from typing import Literal

from pydantic import BaseModel, ConfigDict

Severity = Literal["high", "medium", "low"]
SEVERITIES: tuple[Severity, ...] = ("high", "medium", "low")  # the gravest first


class Finding(BaseModel):
    """Something in a document that its author should look at."""

    model_config = ConfigDict(frozen=True)

    id: str
    """Names the check and counts its findings in the order of the text, such as `actions-2`."""
    severity: Severity
    section: str
    quote: str
    problem: str
    advice: str


class Measures(BaseModel):
    """Figures about a document as a whole."""

    model_config = ConfigDict(frozen=True)

    sections: int
    words: int
    sentences: int
    words_per_sentence: float
    reading_ease: int
    """Flesch reading ease: 60 and more reads easily, under 30 is hard work."""
    passive_percent: int
    """How many of a hundred sentences are passive."""


class Decision(BaseModel):
    """What a person decided about a review."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    approve: bool
    drop: list[str] = []
    """Ids of findings that the report leaves out."""
    note: str = ""
