"""A Django template tag. Name this module in TEMPLATES, under OPTIONS, libraries; then `{% load consent %}`."""

from django import template
from django.template import Context

from consent_mw import get_consent

register = template.Library()


@register.simple_tag(takes_context=True)
def allows(context: Context, purpose: str) -> bool:
    """Tell whether the visitor allows a purpose: `{% allows "analytics" as counted %}{% if counted %}…{% endif %}`."""
    return get_consent(context["request"]).allows(purpose)
