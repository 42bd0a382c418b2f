"""
Make a server keep the promises of its privacy policy.

`ConsentMiddleware` wraps an ASGI application. `get_consent` gives a handler the consent of its request. Everything
else here is for developers who write types, hooks or stores.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from consent_mw.consent.choice import Choice
    from consent_mw.consent.get_consent import get_consent
    from consent_mw.consent.permissions import Decision, Reason, Verdict
    from consent_mw.consent.request_consent import RequestConsent
    from consent_mw.exceptions import ConfigurationError, ConsentError, PolicyError, StoreError
    from consent_mw.middleware import ConsentMiddleware
    from consent_mw.policy.loader import load as load_policy
    from consent_mw.policy.model import Policy
    from consent_mw.proxies import Proxies
    from consent_mw.records import Query, Record
    from consent_mw.rights.personal_data import PersonalData
    from consent_mw.runtime.options import Options
    from consent_mw.runtime.template_helper import consent_banner, consent_head
    from consent_mw.stores.base import Store

__all__ = [
    "Choice",
    "ConfigurationError",
    "ConsentError",
    "ConsentMiddleware",
    "Decision",
    "Options",
    "PersonalData",
    "Policy",
    "PolicyError",
    "Proxies",
    "Query",
    "Reason",
    "Record",
    "RequestConsent",
    "Store",
    "StoreError",
    "Verdict",
    "consent_banner",
    "consent_head",
    "get_consent",
    "load_policy",
]

#: The module of each name. It is imported when the name is first used: a command needs few of them.
_MODULES = {
    "Choice": "consent.choice",
    "ConfigurationError": "exceptions",
    "ConsentError": "exceptions",
    "ConsentMiddleware": "middleware",
    "Decision": "consent.permissions",
    "Options": "runtime.options",
    "PersonalData": "rights.personal_data",
    "Policy": "policy.model",
    "PolicyError": "exceptions",
    "Proxies": "proxies",
    "Query": "records",
    "Reason": "consent.permissions",
    "Record": "records",
    "RequestConsent": "consent.request_consent",
    "Store": "stores.base",
    "StoreError": "exceptions",
    "Verdict": "consent.permissions",
    "consent_banner": "runtime.template_helper",
    "consent_head": "runtime.template_helper",
    "get_consent": "consent.get_consent",
    "load_policy": "policy.loader",
}


if not TYPE_CHECKING:  # checkers read the imports above, and then know which names there are not

    def __getattr__(name: str) -> object:
        if name not in _MODULES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        module = import_module(f"{__name__}.{_MODULES[name]}")
        value = getattr(module, "load" if name == "load_policy" else name)
        globals()[name] = value
        return value

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
