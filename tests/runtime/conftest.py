"""A site around any small application."""

import pytest
from tests.support.exchanges import Site
from tests.support.policies import POLICY


@pytest.fixture
def site(tmp_path):
    """Return a function that wraps an application; what it keeps goes below one directory."""
    (tmp_path / "policy.toml").write_text(POLICY)

    return Site(tmp_path)
