"""The checks of a review: plain text processing, one function for each kind of finding."""

import re
import textwrap
from collections.abc import Iterator

from crews.documents import Section, items, sentences
from crews.findings import Finding, Measures, Severity

LONG_SENTENCE, VERY_LONG_SENTENCE = 35, 50  # words
QUOTE = 160  # characters
KNOWN_ACRONYMS = {
    "EU",
    "UK",
    "US",
    "UN",
    "EUR",
    "USD",
    "GBP",
    "PDF",
    "FAQ",
    "IT",
    "ID",
    "OK",
    "TBD",
    "TBC",
    "TODO",
}
VAGUE_TIMES = (
    "as soon as possible|in good time|in a timely manner|in due course|an appropriate period|soon|later(?=[.;])|"
    "at a later date|when time permits|recently|or so"
)
VAGUE_WORDS = (
    "a number of|various|significant|significantly|reasonable|reasonably|where appropriate|if necessary|if possible|"
    "generally|normally|usually|mostly|rarely|hardly any|fairly|quite often|probably|robust|seamless|seamlessly|"
    "world-class|state of the art|in principle|in special cases|in exceptional cases"
)
OPEN_POINTS = r"TBD|TBC|TODO|\?\?\?|to be (?:decided|confirmed|agreed|defined|determined)"
PARTICIPLE = (
    r"(?:\w+ed|made|done|sent|paid|given|taken|found|kept|known|shown|written|held|built|left|lost|sold|seen)"
)
PASSIVE = rf"(?:is|are|was|were|be|been|being) (?:not |also |only |\w+ly )?{PARTICIPLE}"
PASSIVE_DUTY = rf"(?:must|shall|should|has to|have to|needs? to|is to|are to) be (?:\w+ly )?{PARTICIPLE}"
ACTION_HEADINGS = "actions?|next steps|to do|follow-up"
MONTHS = "January|February|March|April|May|June|July|August|September|October|November|December"
DATE = (
    rf"\d{{4}}-\d{{2}}-\d{{2}}|\d{{1,2}}\.? (?:{MONTHS})|(?:{MONTHS}) \d{{1,4}}|(?:by|of|in) (?:{MONTHS})|"
    r"Q[1-4]|week \d+|within \d+ (?:days|weeks|months)|by (?:Mon|Tues|Wednes|Thurs|Fri)day"
)
OWNER = r"^[A-Z]\w+(?: [A-Z]\w+)* (?:will |to |[a-z]+s )|\b[Oo]wner:? [A-Z]|\b[Aa]ssigned to [A-Z]|@\w"
NOBODY = "^(?:The|This|That|These|It|We|They|Somebody|Someone) "


def measure(sections: list[Section]) -> Measures:
    """Count words and sentences, and estimate how easily the text reads."""
    all_sentences = [sentence for section in sections for sentence in sentences(section["text"])]
    words = [word for sentence in all_sentences for word in _words(sentence)]
    count = max(len(all_sentences), 1)
    per_sentence = len(words) / count
    syllables = sum(_syllables(word) for word in words) / max(len(words), 1)
    passive = sum(bool(_all(PASSIVE, sentence)) for sentence in all_sentences)
    return Measures(
        sections=len(sections),
        words=len(words),
        sentences=len(all_sentences),
        words_per_sentence=round(per_sentence, 1),
        reading_ease=round(206.835 - 1.015 * per_sentence - 84.6 * syllables),
        passive_percent=round(100 * passive / count),
    )


def style(sections: list[Section]) -> list[Finding]:
    """Find sentences that are too long, and duties in the passive, which name nobody who acts."""
    found = _Findings("style")
    for title, sentence in _each_sentence(sections):
        length = len(_words(sentence))
        if length > LONG_SENTENCE:
            severity: Severity = "medium" if length > VERY_LONG_SENTENCE else "low"
            found.add(severity, title, sentence, f"A sentence of {length} words.", "Make it two or three.")
        duties = _all(PASSIVE_DUTY, sentence)
        if duties and not _all(rf"{OPEN_POINTS}|by (?:the|a|an|our) \w+", sentence):
            problem = f"Nobody is named who acts: {_quoted(duties)}."
            found.add("medium", title, _around(duties[0], sentence), problem, "Say who does it.")
    return found.all


def vagueness(sections: list[Section]) -> list[Finding]:
    """Find words that sound like a statement and leave open how much, how often or when."""
    found = _Findings("vague")
    for title, sentence in _each_sentence(sections):
        if times := _all(VAGUE_TIMES, sentence):
            quote, problem = _around(times[0], sentence), f"Leaves open when: {_quoted(times)}."
            found.add("medium", title, quote, problem, "Name a date or a period.")
        if words := _all(VAGUE_WORDS, sentence):
            quote, problem = _around(words[0], sentence), f"Vague: {_quoted(words)}."
            found.add("low", title, quote, problem, "Give the figure or the condition, or cut it.")
    return found.all


def terms(sections: list[Section]) -> list[Finding]:
    """Find acronyms that are explained nowhere: neither `Long Form (LF)` nor `LF (long form)`."""
    found = _Findings("terms")
    text = "\n".join(section["text"] for section in sections)
    seen = set(KNOWN_ACRONYMS)
    for title, sentence in _each_sentence(sections):
        for acronym in re.findall(r"\b[A-Z]{2,6}\b", sentence):
            explained = f"({acronym})" in text or f"{acronym} (" in text
            if acronym not in seen and not explained:
                quote, problem = _around(acronym, sentence), f"{acronym} is not explained."
                found.add("medium", title, quote, problem, "Write it out where it first appears.")
            seen.add(acronym)
    return found.all


def actions(sections: list[Section]) -> list[Finding]:
    """Find points that are still open, and action items without an owner or a date."""
    found = _Findings("actions")
    for section in sections:
        title = section["title"]
        for sentence in sentences(section["text"]):
            if points := _all(OPEN_POINTS, sentence):
                quote, problem = _around(points[0], sentence), f"{_quoted(points)} is still open."
                found.add("high", title, quote, problem, "Decide it, or say who decides it and when.")
        for item in items(section["text"]) if _all(ACTION_HEADINGS, title) else []:
            missing = [] if re.search(OWNER, item) and not re.search(NOBODY, item) else ["owner"]
            missing += [] if _all(DATE, item) else ["date"]
            if missing and not _all(OPEN_POINTS, item):
                severity: Severity = "high" if len(missing) > 1 else "medium"
                problem, advice = (
                    f"An action without {' and '.join(missing)}.",
                    f"Add the {' and the '.join(missing)}.",
                )
                found.add(severity, title, item, problem, advice)
    return found.all


class _Findings:
    """Collects the findings of one check and numbers them."""

    def __init__(self, check: str) -> None:
        self.check = check
        self.all: list[Finding] = []

    def add(self, severity: Severity, section: str, quote: str, problem: str, advice: str) -> None:
        self.all.append(
            Finding(
                id=f"{self.check}-{len(self.all) + 1}",
                severity=severity,
                section=section,
                quote=textwrap.shorten(quote, width=QUOTE, placeholder=" …"),
                problem=problem,
                advice=advice,
            )
        )


def _around(word: str, sentence: str) -> str:
    """Cut off the beginning of a long sentence, so that a quote of usual length shows the word."""
    start = sentence.find(word) - QUOTE // 2
    if len(sentence) <= QUOTE or start <= 0:
        return sentence
    return f"… {sentence[sentence.index(' ', start) + 1 :]}"


def _each_sentence(sections: list[Section]) -> Iterator[tuple[str, str]]:
    for section in sections:
        for sentence in sentences(section["text"]):
            yield section["title"], sentence


def _words(sentence: str) -> list[str]:
    return re.findall(r"[^\W_]+(?:['\u2019.,-][^\W_]+)*", sentence)


def _syllables(word: str) -> int:
    groups = len(re.findall("[aeiouy]+", word.lower().removesuffix("e")))
    return max(groups, 1)


def _all(words: str, sentence: str) -> list[str]:
    return re.findall(rf"(?<!\w)(?:{words})(?!\w)", sentence, re.IGNORECASE)


def _quoted(words: list[str]) -> str:
    return ", ".join(f'"{word}"' for word in dict.fromkeys(words))
