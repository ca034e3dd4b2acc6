"""Claims about operators that are made of what people write, and about what is wrong with it."""

from __future__ import annotations

import opendal
import pytest

from httpserve.errors import InvalidArgument
from httpserve.storage.operators import new_operator
from tests.cases import each

S3 = {"bucket": "images", "region": "eu-central-1"}


@each(
    ("service", "options", "made"),
    [
        ("s3", S3, 'Operator("s3", root="/", name="images")'),
        ("s3", {**S3, "root": "/a"}, 'Operator("s3", root="/a/", name="images")'),
        ("s3://images/a/b?region=eu-central-1", {}, 'Operator("s3", root="/a/b/", name="images")'),
        ("s3://images", {"region": "eu-central-1"}, 'Operator("s3", root="/", name="images")'),
        ("webdav://nas.lab:8080/images", {}, 'Operator("webdav", root="/images/")'),
        ("http://mirror.lab/images/", {}, 'Operator("http", root="/images/")'),
    ],
)
def test_an_operator_is_made_of_a_service_or_a_url(service: str, options: dict[str, str], made: str) -> None:
    operator = new_operator(service, options)

    assert isinstance(operator, opendal.Operator)
    assert repr(operator) == made


@each(
    ("service", "options", "message"),
    [
        ("s4", {"bucket": "geheim"}, "OpenDAL makes no operator of 's4' with bucket=: scheme is not registered"),
        ("s3", {"access_key_id": "geheim"}, "of 's3' with access_key_id=: bucket= is missing"),
        ("s3", {"regoin": "geheim"}, "s3 has no option regoin=; there is region="),
        ("s3://images?acces_key_id=geheim", {}, "s3 has no option acces_key_id=; there is access_key_id="),
        ("yandex-disk", {"acces_token": "geheim"}, "yandex-disk has no option acces_token=; there is access_token="),
        (
            "azblob://geheim:geheim@c/x?account_key=geheim",
            {},
            "of 'azblob://c/x' with account_key=: endpoint= is missing",
        ),
    ],
)
def test_what_is_wrong_is_told_without_any_value(service: str, options: dict[str, str], message: str) -> None:
    with pytest.raises(InvalidArgument) as raised:
        new_operator(service, options)

    assert message in str(raised.value)
    assert "geheim" not in str(raised.value)
