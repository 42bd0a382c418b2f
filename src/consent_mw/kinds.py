"""
Every kind of record and its rules: how long a record is kept, who sees it, and which store holds it.

A kind without a row here cannot be sealed. So no record is kept for ever because a list somewhere forgot its kind.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

VISIT: Final = "visit"
EVENT: Final = "event"
ABUSE: Final = "abuse"
RECEIPT: Final = "receipt"
PENDING: Final = "pending"
GAP: Final = "gap"
UNDECLARED: Final = "undeclared"
REQUEST: Final = "request"
ANSWER: Final = "answer"
RESTRICTS: Final = "restricts"
LINK: Final = "link"
DISCLOSURE: Final = "disclosure"
NAMING: Final = "naming"
CERTIFICATE: Final = "certificate"
TALLY: Final = "tally"
DELETION: Final = "deletion"
AGGREGATE: Final = "aggregate"
ERASED: Final = "erased"
HOST: Final = "host"
SHARING: Final = "sharing"
PUBLICATION: Final = "publication"


class Kind(NamedTuple):
    """
    The rules for one kind of record.

    Attributes:
        says: What such a record says.
        ends: Whether it is destroyed when its purpose ends. A record that does not end says nothing about a person.
        held: Whether *My data* lists a person's own records of this kind, and an erasure destroys them.
        shown: Whether `consent-mw log` and `export` show it to staff.
        counted: Whether the counts of a day include it, hour by hour.
        disclosed: Whether it can be disclosed to others.
        in_log_store: Whether it goes into `log_store=`, if the site has one: for records that are many, and that
            nobody waits for.
    """

    says: str
    ends: bool
    held: bool = False
    shown: bool = False
    counted: bool = False
    disclosed: bool = False
    in_log_store: bool = False


#: Each kind by its name, in the order in which commands list them.
KINDS: Final[Mapping[str, Kind]] = {
    VISIT: Kind(
        "a request and its answer",
        ends=True, held=True, shown=True, counted=True, disclosed=True, in_log_store=True,
    ),
    EVENT: Kind(
        "what the application noted about a visitor",
        ends=True, held=True, shown=True, counted=True, disclosed=True, in_log_store=True,
    ),
    ABUSE: Kind(
        "what the application noted to defend the site",
        ends=True, held=True, shown=True, counted=True, disclosed=True,
    ),
    RECEIPT: Kind("a visitor's choice, and what it was made from", ends=True, shown=True, counted=True, disclosed=True),
    GAP: Kind("what was lost, how much of it and why", ends=True, shown=True),
    UNDECLARED: Kind("cookies that the policy forgot to declare", ends=True, shown=True),
    CERTIFICATE: Kind("that something was destroyed", ends=False, shown=True),
    AGGREGATE: Kind("counts of a day or a period", ends=False, shown=True),
    REQUEST: Kind("what a visitor asked for", ends=True, shown=True),
    ANSWER: Kind("what became of a request", ends=True, shown=True),
    DISCLOSURE: Kind("what was handed to others", ends=True, shown=True),
    ERASED: Kind("that a visitor's data was erased", ends=False, shown=True),
    PENDING: Kind("a cookie that waits for its visitor's answer", ends=True),
    LINK: Kind("under which name the receipts of a sign-in are kept", ends=True),
    NAMING: Kind("of the archive: what tells whose the records of a day are", ends=True),
    TALLY: Kind("how many records a day had when it was counted", ends=False),
    RESTRICTS: Kind("that a request restricts its sender's data until it is answered", ends=False),
    DELETION: Kind("how many records a deletion took", ends=False),
    HOST: Kind("that a host of the site is there, or was retired", ends=False),
    SHARING: Kind("what the hosts of a site wrap for each other, and what they have destroyed", ends=False),
    PUBLICATION: Kind("a declaration that was published, or words that visitors were shown", ends=False),
}  # fmt: skip

#: The kinds that are destroyed when their purpose ends.
ENDING: Final = frozenset(name for name, kind in KINDS.items() if kind.ends)
#: The kinds that *My data* lists, and that an erasure destroys.
HELD: Final = frozenset(name for name, kind in KINDS.items() if kind.held)
#: The kinds that staff see, in order.
SHOWN: Final = tuple(name for name, kind in KINDS.items() if kind.shown)
COUNTED: Final = frozenset(name for name, kind in KINDS.items() if kind.counted)
DISCLOSED: Final = frozenset(name for name, kind in KINDS.items() if kind.disclosed)
IN_LOG_STORE: Final = frozenset(name for name, kind in KINDS.items() if kind.in_log_store)
