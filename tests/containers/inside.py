"""A container that runs: a shell in it takes commands from a pipe, for as long as the test likes."""

import subprocess
import tempfile

from mounting import HANG, bounded

END = "==end=="


class Inside:
    """`with Inside(argv) as box: box.ask("cat /t/value")`. The argv ends in a shell that reads its standard input."""

    def __init__(self, argv, environ, cleanup=None):
        self.argv = [str(word) for word in argv]
        self.environ = environ
        self.cleanup = cleanup
        self.process = self.stderr = None

    def __enter__(self):
        self.stderr = tempfile.TemporaryFile()          # pylint: disable=consider-using-with
        self.process = subprocess.Popen(self.argv, env=self.environ, cwd="/", stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, stderr=self.stderr)
        try:
            self.ask(":")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        try:
            self.process.stdin.close()
        except BrokenPipeError:
            pass
        try:
            self.process.wait(HANG)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(HANG)
        finally:
            if self.cleanup:
                self.cleanup()
            self.process.stdout.close()
            self.stderr.close()

    def said(self):
        """What came on its standard error."""
        self.stderr.seek(0)
        return self.stderr.read().decode(errors="replace")

    def run(self, command):
        """Runs a command in the container; gives its status and all that it wrote."""
        self.process.stdin.write(f": | {{ {command}\n}} 2>&1; echo {END}$?\n".encode())
        self.process.stdin.flush()
        output = ""
        while END not in output:
            line = bounded(self.process.stdout.readline).decode(errors="replace")
            assert line, f"the container ended: {self.argv}\n{output}\n{self.said()}"
            output += line
        output, _, status = output.rpartition(END)
        return int(status), output

    def ask(self, command):
        """Runs a command that must succeed; gives what it wrote."""
        status, output = self.run(command)
        assert status == 0, (command, status, output)
        return output
