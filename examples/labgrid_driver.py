"""A labgrid driver: `stage()` puts a file on a server of ours, and returns the URL as the board sees it.

In the environment: `imports: [labgrid_driver.py]`, a `NetworkService` with the board's address, and this driver.
"""

import os

import attr
from labgrid import step, target_factory
from labgrid.driver import Driver

from httpserve import HttpServerClient


@target_factory.reg_driver
@attr.s(eq=False)
class HttpServeDriver(Driver):
    bindings = {"board": "NetworkService"}  # noqa: RUF012 - as all of labgrid's drivers

    def on_activate(self):
        self.http = HttpServerClient(peer=self.board.address)
        self.http.start()

    def on_deactivate(self):
        self.http.close()

    @Driver.check_active
    @step(args=["filename"], result=True)
    def stage(self, filename):
        return self.http.put_file(os.path.basename(filename), filename)

    @Driver.check_active
    @step(args=["filename", "timeout"], result=True)
    def wait(self, filename, timeout=600.0):
        return self.http.wait_for_download(os.path.basename(filename), timeout)
