"""
Make a server keep the promises of its privacy policy.

`ConsentMiddleware` wraps an ASGI application. `get_consent` gives a handler the consent of its request. Everything
else here is for developers who write types, hooks or stores.
"""

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
