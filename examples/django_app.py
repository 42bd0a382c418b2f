"""A Django site (ASGI) behind its privacy policy. In the repository's root: uvicorn examples.django_app:app"""

import os
import secrets
from pathlib import Path

import django
from django.conf import settings
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse

from consent_mw import ConsentMiddleware, get_consent
from examples.fruit import harvest, matching

# Without SECRET_KEY every start makes a new key, and visitors are asked again.
key = os.environ.get("SECRET_KEY") or secrets.token_urlsafe(32)

settings.configure(
    SECRET_KEY=key,
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF=__name__,
    TEMPLATES=[
        {
            "BACKEND": "django.template.backends.django.DjangoTemplates",
            "DIRS": [Path(__file__).with_name("django_templates")],
            "OPTIONS": {
                "context_processors": ["django.template.context_processors.request"],
                "libraries": {"consent": "examples.django_tags"},
            },
        }
    ],
)
django.setup()

# What follows needs the settings.
from django.core.asgi import get_asgi_application  # noqa: E402
from django.shortcuts import render  # noqa: E402
from django.urls import path  # noqa: E402


async def search(request: HttpRequest) -> HttpResponse:
    words = request.GET.get("q", "")
    results = matching(words)
    get_consent(request).record_event("search", results=len(results))  # kept only if analytics is allowed

    response = render(request, "fruit.html", {"words": words, "results": results})
    response.set_cookie("last_search", words, max_age=30 * 86_400)  # reaches the browser of those who allow it
    return response


async def table(request: HttpRequest) -> StreamingHttpResponse:
    return StreamingHttpResponse(harvest(), content_type="text/csv")


async def rotten(request: HttpRequest) -> HttpResponse:
    raise RuntimeError("a page with a defect: its visit is recorded with the status 500")


urlpatterns = [path("", search), path("harvest.csv", table), path("rotten", rotten)]

app = ConsentMiddleware(get_asgi_application(), policy=Path(__file__).with_name("policy.toml"), secret_keys=[key])
