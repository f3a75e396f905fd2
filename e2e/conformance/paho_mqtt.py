"""Runs the two client suites of a checkout of Eclipse paho.mqtt.testing.

usage: paho_mqtt.py CHECKOUT HOST PORT [CASE...]

Each case runs in a process of its own, since some wait for ever for what does
not come. The suites read their settings from the command line in ways that
leave out unittest's own, so they are set from here.
"""

import os
import subprocess
import sys
import unittest

SECONDS = 90  # for one case
TOPICS = ("TopicA", "TopicA/B", "Topic/C", "TopicA/C", "/TopicA")
WILD = ("TopicA/+", "+/C", "#", "/#", "/+", "+/+", "TopicA/#")


def load(checkout, host, port):
    """Returns both suites, set up."""
    sys.path.insert(0, os.path.join(checkout, "interoperability"))
    import client_test
    import client_test5

    def configure(module, prefix):
        module.host, module.port = host, int(port)
        module.topic_prefix = prefix
        module.topics = [prefix + t for t in TOPICS]
        module.wildtopics = [prefix + t for t in WILD]
        module.nosubscribe_topics = ("test/nosubscribe",)

    configure(client_test, "")
    # This suite resets its topics to those without the prefix before it starts.
    client_test5.setData = lambda: configure(client_test5, "client_test5/")
    client_test5.setData()
    return client_test, client_test5


def names(module):
    return [n for n in dir(module.Test) if n.startswith("test") or n == "will_message_test"]


def run_all(arguments, cases):
    failed = 0
    for case in cases:
        command = [sys.executable, __file__, *arguments, case]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
            ok, output = done.returncode == 0, done.stdout
        except subprocess.TimeoutExpired:
            ok, output = False, f"not done after {SECONDS} s"
        print("ok  " if ok else "FAIL", case, flush=True)
        if not ok:
            failed += 1
            print("     " + "\n     ".join(output.strip().splitlines()[-8:]), flush=True)
    print(f"{len(cases) - failed} passed, {failed} failed")
    return failed


def main():
    arguments, cases = sys.argv[1:4], sys.argv[4:]
    sys.argv = sys.argv[:1]
    modules = load(*arguments)
    if len(cases) == 1:
        name, case = cases[0].split(".")
        module = next(m for m in modules if m.__name__ == name)
        result = unittest.TextTestRunner(stream=sys.stdout).run(unittest.TestSuite([module.Test(case)]))
        return not result.wasSuccessful()
    return run_all(arguments, cases or [f"{m.__name__}.{n}" for m in modules for n in names(m)]) > 0


if __name__ == "__main__":
    sys.exit(main())
