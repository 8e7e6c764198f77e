"""Blob stores: the contract in `suite.py`, and what only one back end promises."""

import pytest

pytest.register_assert_rewrite("tests.blobstore.suite")
