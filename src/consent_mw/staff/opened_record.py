"""Present one record to an operator: clear and sealed fields in one flat dict."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from consent_mw.crypto.sealer import Sealer
from consent_mw.exceptions import ConfigurationError, KeyDestroyed, StoreError
from consent_mw.records import Record, time_of

_decode = msgspec.msgpack.Decoder(dict[str, object] | list[object] | str).decode


def opened(record: Record, sealer: Sealer) -> dict[str, object]:
    """
    Return "time" (ISO 8601, local, with offset), "kind", "purpose", "id" and the record's own fields.

    If the sealed fields cannot be read, "sealed" says why: "destroyed", "of another keyring" or "unreadable".

    Args:
        record: A whole record (see `Sealer.is_whole`).
    """
    return _named(record, _fields(record, sealer))


def unopened(record: Record) -> dict[str, object]:
    """Return the same without the sealed fields. If the record has any, "sealed" is "sealed"."""
    return _named(record, {**record.data, "sealed": "sealed"} if record.ring else record.data)


def _named(record: Record, fields: Mapping[str, object]) -> dict[str, object]:
    head = {
        "time": time_of(record.id).astimezone().isoformat(timespec="milliseconds"),
        "kind": record.kind,
        "purpose": record.purpose,
        "id": str(record.id),
    }
    return head | {name: value for name, value in fields.items() if name not in head}


def _fields(record: Record, sealer: Sealer) -> Mapping[str, object]:
    if not record.ring:
        return record.data
    try:
        sealed = _decode(sealer.open(record))
        # Requests of visitors and answers of staff are sealed without field names: see `consent-mw requests`.
        return {**record.data, **(sealed if isinstance(sealed, dict) else {f"{record.kind}.sealed": sealed})}
    except KeyDestroyed:
        return {**record.data, "sealed": "destroyed"}
    except ConfigurationError:
        return {**record.data, "sealed": "of another keyring"}
    except (StoreError, msgspec.MsgspecError):
        return {**record.data, "sealed": "unreadable"}
