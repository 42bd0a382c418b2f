"""The policy page as a file of its own, for readers without a running site: the words of the page, and its style."""

from __future__ import annotations

from datetime import datetime

from consent_mw.policy.model import Policy
from consent_mw.policy.timeline import begins
from consent_mw.site.assets import Assets
from consent_mw.site.documents import OwnCookies
from consent_mw.site.labels import labelled
from consent_mw.site.surfaces import Surfaces


def policy_file(policy: Policy, language: str, base: str, now: datetime) -> str:
    """
    Return the policy page as HTML that needs no other file.

    Args:
        base: The path of the site's pages, such as "/consent". The links of the page begin with it.
        now: The time at which the page says whether the revision is in force or announced.
    """
    surfaces, assets = Surfaces(policy), Assets()
    starts = begins(policy).astimezone(policy.time_zone)
    ahead = starts > now
    page = surfaces.render(
        "policy.html",
        language,
        base,
        head=f"<style>{assets.text('consent.css')}{assets.text('pages.css')}</style>",
        pages_css="",
        notice="",
        suffix="",
        home="/",
        here=f"{base}/policy",
        languages=[(tag, surfaces.templates.translation(language).own_name(tag)) for tag in policy.languages],
        has_my_data=True,
        has_proof=True,
        own_cookies=OwnCookies(),
        in_force=None if ahead else policy.revision,
        ahead=policy.revision if ahead else None,
        standing="ahead" if ahead else "in force",
        begins=starts,
        revisions=[policy.revision],
        compared=None,
        old=None,
        new=policy,
    )
    return labelled(page)
