"""A script as they were written in 2015, whose board fetches two files. No `with`, no annotations, no f-strings.

    python examples/plain_2015.py KERNEL DTB [ADDRESS]

ADDRESS is the board's (127.0.0.1 when left out). Type the printed commands on the board; the script ends with 0 when it
has both files, and with 1 when it has not.
"""

import optparse
import os
import sys

import httpserve


def stage(server, path):
    name = "boot/%s" % os.path.basename(path)
    url = server.put_file(name, path)
    print("on the board, run: wget '%s'" % url)
    return name


def wait(server, name, timeout):
    try:
        record = server.wait_for_download(name, timeout)
    except httpserve.WaitTimeout as error:
        print("%s did not arrive: %s" % (name, error))
        return False
    print("%s has %s: %d bytes after %.1f s" % (record.client, name, record.bytes, record.seconds))
    return True


def main(argv):
    parser = optparse.OptionParser(usage="%prog [options] KERNEL DTB [ADDRESS]")
    parser.add_option("-t", "--timeout", type="float", default=600.0, help="seconds for each file")
    options, arguments = parser.parse_args(argv)
    if not 2 <= len(arguments) <= 3:
        parser.error("two files are needed")

    board = arguments[2] if len(arguments) == 3 else "127.0.0.1"
    server = httpserve.HttpServerClient(peer=board)
    server.start()
    try:
        names = [stage(server, path) for path in arguments[:2]]
        sys.stdout.flush()
        arrived = [wait(server, name, options.timeout) for name in names]
    finally:
        server.close()
    return 0 if all(arrived) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
