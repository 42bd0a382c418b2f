"""What to ask PostgreSQL for: a query as conditions, and the stretches of days to search."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple
from uuid import UUID

from psycopg import sql

from consent_mw.records import Query
from consent_mw.stores.base import first_id
from consent_mw.stores.postgres_schema import EVERY_DAY, UNDIVIDED
from consent_mw.system.days import DAY_MILLISECONDS

_LAST_DAY: Final = (1 << 48) // DAY_MILLISECONDS

# How much one statement may touch. The planner takes some 30 microseconds for each partition, and a lock for it and for
# each of its three indexes. A server with default settings has 6,400 locks for all connections together.
_PARTITIONS: Final = 96

# As a table, each token is its own search. For a long array the planner may assume that nearly all rows match.
# In binary: of a sign-in there are hundreds, and as text they take three times as long to write down.
_TOKENS: Final = "unnest(%(subjects)b::bytea[]) AS token"
# With its day and purpose, each token is searched in one partition alone: the executor skips the others.
_PLACED: Final = "unnest(%(subjects)b::bytea[], %(days)b::integer[], %(of)b::text[]) AS placed (token, on_day, for_one)"
_COLUMNS: Final = sql.SQL("id, kind, purpose, subject, ring, data::text, sealed")

_FURTHER: Final = (
    "kind || '' = ANY(%(kinds)s) AND id BETWEEN %(lower)s AND %(last)s ORDER BY id {order} LIMIT %(limit)s"
)


class Shelf(NamedTuple):
    """
    One day of one purpose: a partition, and the kinds of records in it. Of a purpose that is not divided, `EVERY_DAY`.
    """

    day: int
    purpose: str
    kinds: list[str]


class Stretch(NamedTuple):
    """Successive days that one statement searches."""

    first_day: int
    last_day: int
    purposes: list[str]
    kinds: list[str]


def day_of(record_id: UUID) -> int:
    """Return the day of an id, in whole days since 1970."""
    return (record_id.int >> 80) // DAY_MILLISECONDS


def shelf_day(purpose: str, day: int) -> int:
    """Return the day of the shelf on which the records of a purpose and day are."""
    return EVERY_DAY if purpose in UNDIVIDED else day


class Search:
    """
    A query as SQL. Every statement names days and purposes as values, so that the planner excludes all other partitions
    before it locks anything.
    """

    def __init__(self, query: Query, after: UUID | None = None, *, newest_first: bool = False) -> None:
        self.query = query
        self._lower = first_id(query.since).int if query.since is not None else 0
        self._upper = first_id(query.until).int if query.until is not None else 1 << 128
        self._backwards = newest_first
        self._continues = after is not None
        self._order = sql.SQL("DESC" if newest_first else "ASC")
        if after is not None and newest_first:
            self._upper = min(self._upper, after.int)
        elif after is not None:
            self._lower = max(self._lower, after.int + 1)
        self.ids: list[UUID] | None = self._wanted_ids()
        self.first_day: int = (self._lower >> 80) // DAY_MILLISECONDS
        self.last_day: int = min(((self._upper - 1) >> 80) // DAY_MILLISECONDS, _LAST_DAY) if self._upper else -1

    def _wanted_ids(self) -> list[UUID] | None:
        if self.query.ids is None:
            return None
        return sorted(one for one in self.query.ids if self._lower <= one.int < self._upper)

    @property
    def is_empty(self) -> bool:
        """Whether nothing can match."""
        query = self.query
        sets = (query.kinds, query.purposes, query.subjects, self.ids)
        return self._lower >= self._upper or any(one is not None and not one for one in sets)

    @property
    def before_all(self) -> int:
        """A day before all others, in the direction of this search."""
        return _LAST_DAY + 1 if self._backwards else -1

    @property
    def is_divided(self) -> bool:
        """Whether it means purposes that are divided into days."""
        return self.query.purposes is None or not self.query.purposes <= UNDIVIDED

    @property
    def is_undivided(self) -> bool:
        """Whether it means purposes that are not."""
        return self.query.purposes is None or not self.query.purposes.isdisjoint(UNDIVIDED)

    def covers(self, shelf: Shelf) -> bool:
        """Whether the query means everything on the shelf, whatever it is."""
        starts = self._lower <= (shelf.day * DAY_MILLISECONDS) << 80
        return starts and self.ends(shelf.day) and self.query.kinds.issuperset(shelf.kinds)

    def among(self, shelves: Sequence[Shelf]) -> Sequence[Shelf]:
        """Return those of `shelves` in which one of the subjects may be."""
        places = self.query.places
        return shelves if places is None else [shelf for shelf in shelves if (shelf.day, shelf.purpose) in places]

    def undivided(self) -> tuple[sql.Composed, dict[str, Any]]:
        """Return a statement for the shelves of purposes that are not divided."""
        statement = sql.SQL("""
            SELECT day, purpose, array_agg(kind) FROM shelves WHERE day = %(every_day)s AND purpose = ANY(%(purposes)s)
            GROUP BY day, purpose HAVING array_agg(kind) && %(kinds)s ORDER BY purpose
        """)
        purposes = UNDIVIDED if self.query.purposes is None else UNDIVIDED & self.query.purposes
        values = {"every_day": EVERY_DAY, "purposes": sorted(purposes), "kinds": list(self.query.kinds)}
        return sql.Composed([statement]), values

    def beside(self, undivided: Sequence[Shelf], stretch: Stretch | None, searched: Stretch | None) -> Stretch | None:
        """
        Return a stretch together with what is not divided, so that no day is left out between it and the one that was
        `searched` before. Without a stretch, return the rest of the days; None if nothing is left.
        """
        if not undivided:
            return stretch
        first_day, last_day = self.first_day, self.last_day
        if self._backwards:
            last_day = last_day if searched is None else searched.first_day - 1
            first_day = first_day if stretch is None else stretch.first_day
        else:
            first_day = first_day if searched is None else searched.last_day + 1
            last_day = last_day if stretch is None else stretch.last_day
        if first_day > last_day:
            return None
        kinds = {kind for shelf in undivided for kind in shelf.kinds} & self.query.kinds
        purposes = {shelf.purpose for shelf in undivided}
        if stretch is not None:
            kinds, purposes = kinds.union(stretch.kinds), purposes.union(stretch.purposes)
        return Stretch(first_day, last_day, sorted(purposes), sorted(kinds))

    def ends(self, day: int) -> bool:
        """Whether the query means everybody's records, up to the end of that day."""
        return self.query.subjects is None and self.ids is None and self._reaches(day)

    def may_empty(self, day: int) -> bool:
        """
        Whether nothing may remain of that day, which is over. Of records that are named one by one `Query.until` says
        so.
        """
        by_name = self.ids is None or self.query.until is not None
        return day != EVERY_DAY and self.query.subjects is None and by_name and self._reaches(day)

    def _reaches(self, day: int) -> bool:
        return self._upper >= ((day + 1) * DAY_MILLISECONDS) << 80

    def shelves(self, beyond: int, *, most: int) -> tuple[sql.Composed, dict[str, Any]]:
        """
        Return a statement for the shelves of the next `most` days beyond the day `beyond`, in the search's direction.
        """
        further = "day < %(beyond)s" if self._backwards else "day > %(beyond)s"
        conditions = [sql.SQL(further), sql.SQL("day BETWEEN %(first_day)s AND %(last_day)s")]
        values: dict[str, Any] = {
            "beyond": beyond,
            "first_day": self.first_day,
            "last_day": self.last_day,
            "kinds": list(self.query.kinds),
            "most": most,
        }
        if self.query.purposes is not None:
            conditions.append(sql.SQL("purpose = ANY(%(purposes)s)"))
            values["purposes"] = list(self.query.purposes)
        if self.ids is not None:
            conditions.append(sql.SQL("day = ANY(%(days)s)"))
            values["days"] = sorted({day_of(one) for one in self.ids})
        statement = sql.SQL("""
            SELECT day, purpose, array_agg(kind) FROM shelves
            WHERE {conditions} AND day IN (
                SELECT DISTINCT day FROM shelves
                WHERE {conditions} AND kind = ANY(%(kinds)s) ORDER BY day {order} LIMIT %(most)s
            )
            GROUP BY day, purpose HAVING array_agg(kind) && %(kinds)s ORDER BY day {order}
        """)
        return statement.format(conditions=sql.SQL(" AND ").join(conditions), order=self._order), values

    def page(self, stretch: Stretch, limit: int) -> tuple[sql.Composed, dict[str, Any]]:
        """Return a statement for at most `limit` records of a stretch, in the search's direction."""
        if self.query.places is not None and self.query.subjects is not None and self.ids is None:
            return self._placed(stretch, self.query.places, limit)
        conditions, values = self._conditions(stretch)
        values["limit"] = limit
        kinds: list[sql.Composable] = [self._kinds()]
        if self.ids is None and self.query.subjects is None:
            # In its index each kind alone is in order. For several kinds at once the planner would sort all rows.
            names = {f"kind{number}": kind for number, kind in enumerate(stretch.kinds)}
            kinds = [sql.SQL("kind = {}").format(sql.Placeholder(name)) for name in names]
            values |= names
        ordered = sql.SQL("ORDER BY id {} LIMIT %(limit)s").format(self._order)
        one = sql.SQL("(SELECT {} FROM records WHERE {} AND {} {})")
        parts = [one.format(_COLUMNS, conditions, kind, ordered) for kind in kinds]
        if self.query.subjects is not None:
            return sql.SQL("SELECT found.* FROM {} {}").format(_each_token(parts[0]), ordered), values
        if len(parts) == 1:
            return parts[0], values
        return sql.SQL("{} {}").format(sql.SQL(" UNION ALL ").join(parts), ordered), values

    def _placed(
        self, stretch: Stretch, places: Mapping[tuple[int, str], frozenset[bytes]], limit: int
    ) -> tuple[sql.Composed, dict[str, Any]]:
        """
        As `page`, with each subject looked for in its own partition.

        Planning takes most of the time, so the planner gets few conditions: the others are checked on what was found.
        """
        purposes = set(stretch.purposes)
        placed = [
            (subject, day, purpose)
            for (day, purpose), subjects in places.items()
            if stretch.first_day <= day <= stretch.last_day and purpose in purposes
            for subject in subjects
        ]
        subjects, days, of = ([row[column] for row in placed] for column in range(3))
        values: dict[str, Any] = {
            "purposes": stretch.purposes,
            "first_day": stretch.first_day,
            "last_day": stretch.last_day,
            "kinds": stretch.kinds,
            "lower": UUID(int=self._lower),
            "last": UUID(int=self._upper - 1),
            "subjects": subjects,
            "days": days,
            "of": of,
            "limit": limit,
        }
        statement = sql.SQL("""
            SELECT found.* FROM {placed} CROSS JOIN LATERAL (
                SELECT {columns} FROM records
                WHERE purpose = ANY(%(purposes)s) AND day BETWEEN %(first_day)s AND %(last_day)s
                    AND day = on_day AND purpose = for_one AND subject = token AND {further}
            ) AS found
            WHERE kind = ANY(%(kinds)s) AND id BETWEEN %(lower)s AND %(last)s ORDER BY id {order} LIMIT %(limit)s
        """)
        # Of somebody with thousands of records the next pages must not read again all that follows.
        further = _FURTHER if self._continues else "true OFFSET 0"
        parts = {"placed": sql.SQL(_PLACED), "columns": _COLUMNS, "order": self._order}
        return statement.format(further=sql.SQL(further).format(order=self._order), **parts), values

    def hits(self, stretch: Stretch) -> tuple[sql.Composed, dict[str, Any]]:
        """Return a statement for the days and purposes of a stretch in which something matches."""
        conditions, values = self._conditions(stretch)
        matching = sql.SQL("(SELECT DISTINCT day, purpose FROM records WHERE {} AND {})").format(
            conditions, self._kinds()
        )
        source = _each_token(matching) if self.query.subjects is not None else sql.SQL("{} AS found").format(matching)
        return sql.SQL("SELECT DISTINCT found.* FROM {}").format(source), values

    def deletion(self, day: int, purpose: str) -> tuple[sql.Composed, dict[str, Any]]:
        """Return a statement that deletes what matches in one partition."""
        first_day, last_day = (self.first_day, self.last_day) if day == EVERY_DAY else (day, day)
        conditions, values = self._conditions(Stretch(first_day, last_day, [purpose], list(self.query.kinds)))
        tokens = sql.SQL("" if self.query.subjects is None else f" USING {_TOKENS}")
        return sql.SQL("DELETE FROM records{} WHERE {} AND {}").format(tokens, conditions, self._kinds()), values

    def _kinds(self) -> sql.SQL:
        # In a partition without ANALYZE the planner may assume that a kind is as rare as a token. It then read
        # everything for one visitor: 143 ms instead of 18 for a hundred days of 10,000 records. An expression has no
        # index.
        return sql.SQL("kind = ANY(%(kinds)s)" if self.query.subjects is None else "kind || '' = ANY(%(kinds)s)")

    def _conditions(self, stretch: Stretch) -> tuple[sql.Composed, dict[str, Any]]:
        conditions = [sql.SQL("purpose = ANY(%(purposes)s) AND day BETWEEN %(first_day)s AND %(last_day)s")]
        values: dict[str, Any] = {
            "purposes": stretch.purposes,
            "first_day": stretch.first_day,
            "last_day": stretch.last_day,
            "kinds": stretch.kinds,
        }
        lower, upper = self._lower, self._upper
        if not UNDIVIDED.isdisjoint(stretch.purposes):  # of these no index knows the day
            lower = max(lower, (stretch.first_day * DAY_MILLISECONDS) << 80)
            upper = min(upper, ((stretch.last_day + 1) * DAY_MILLISECONDS) << 80)
        if lower:
            conditions.append(sql.SQL("id >= %(lower)s"))
            values["lower"] = UUID(int=lower)
        if upper < 1 << 128:
            conditions.append(sql.SQL("id < %(upper)s"))
            values["upper"] = UUID(int=upper)
        if self.ids is not None:
            conditions.append(sql.SQL("id = ANY(%(ids)s)"))
            values["ids"] = [one for one in self.ids if stretch.first_day <= day_of(one) <= stretch.last_day]
        if self.query.subjects is not None:
            conditions.append(sql.SQL("subject = token"))
            values["subjects"] = list(self.query.subjects)
        return sql.SQL(" AND ").join(conditions), values


def _each_token(matching: sql.Composed) -> sql.Composed:
    # The planner may reorder a join, and read a whole day for one token. It cannot reorder this.
    return sql.SQL("{} CROSS JOIN LATERAL {} AS found").format(sql.SQL(_TOKENS), matching)


def stretches(shelves: Sequence[Shelf], kinds: frozenset[str], days: int) -> Iterator[Stretch]:
    """
    Yield the days of `shelves`, in their direction, in stretches: first `days` days, then each twice as long.

    So a page that fills soon touches a day or two, and a search through an empty year takes few statements.
    """
    start = 0
    while start < len(shelves):
        end = _end(shelves, start, days)
        part = shelves[start:end]
        yield Stretch(
            min(part[0].day, part[-1].day),
            max(part[0].day, part[-1].day),
            sorted({shelf.purpose for shelf in part}),
            sorted({kind for shelf in part for kind in shelf.kinds if kind in kinds}),
        )
        start, days = end, days * 2


def _end(shelves: Sequence[Shelf], start: int, days: int) -> int:
    """Return the end of the stretch that begins at `start`: whole days, at least one, and not too many partitions."""
    end, seen = start, 0
    while end < len(shelves) and seen < days:
        day = shelves[end].day
        behind = next((at for at in range(end, len(shelves)) if shelves[at].day != day), len(shelves))
        if seen and behind - start > _PARTITIONS:
            break
        end, seen = behind, seen + 1
    return end
