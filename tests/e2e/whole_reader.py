#!/usr/bin/python3
"""Reads a file over and over, each time until its end, as cat does.

    whole_reader.py PATH PAUSE      prints `whole N` for each new version; `torn …` for what is none, `again …` if the next
                                    read is the same
"""

import os
import sys
import time

from hammer import is_whole


def main(path, pause):
    """Until it is ended."""
    last = None
    while True:
        text = b""
        try:
            fd = os.open(path, os.O_RDONLY)
            try:
                while piece := os.read(fd, 4096):
                    text += piece
            finally:
                os.close(fd)
        except OSError as error:
            print(f"error {error}", flush=True)
            continue
        if text == last and not is_whole(text.decode()):
            print(f"again {text!r}", flush=True)
        if text != last:
            last = text
            print(f"whole {text[:8].decode()}" if is_whole(text.decode()) else f"torn {text!r}", flush=True)
        time.sleep(pause)


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]))
