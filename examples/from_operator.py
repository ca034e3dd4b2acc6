"""Put files from any OpenDAL operator: memory here, S3 or another of its services in the same way.

    python examples/from_operator.py

With `Operator("s3", bucket="builds", region="eu-west-1")` instead, nothing else changes.
"""

import hashlib
import urllib.request

import opendal

from httpserve import HttpServerClient


def main() -> None:
    image = b"a kernel" * 100_000
    builds = opendal.Operator("memory")
    builds.write("nightly/zImage", image)

    with HttpServerClient(host="127.0.0.1") as http:
        # Refused, and nothing of it kept, when the bytes are not those that the build server announced.
        url = http.put_file("boot/zImage", "nightly/zImage", builds, sha256=hashlib.sha256(image).hexdigest())
        with urllib.request.urlopen(url) as response:
            fetched = response.read()

        print("fetched %d bytes from %s" % (len(fetched), url))
        print("the server has:", *http.storage.scan("/"))
        assert fetched == image


if __name__ == "__main__":
    main()
