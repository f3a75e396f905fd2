"""Runs the two client suites of a checkout of Eclipse paho.mqtt.testing.

usage: paho_mqtt.py CHECKOUT HOST PORT [CASE...]

The suites read their settings from the command line in ways that leave out
unittest's own, so they are set from here.
"""

import os
import signal
import sys
import unittest

SECONDS = 90  # for one case: some wait for ever for what does not come

checkout, host, port, cases = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4:]
sys.path.insert(0, os.path.join(checkout, "interoperability"))
sys.argv = sys.argv[:1]

import client_test  # noqa: E402
import client_test5  # noqa: E402

TOPICS = ("TopicA", "TopicA/B", "Topic/C", "TopicA/C", "/TopicA")
WILD = ("TopicA/+", "+/C", "#", "/#", "/+", "+/+", "TopicA/#")


def configure(module, prefix):
    module.host, module.port = host, port
    module.topic_prefix = prefix
    module.topics = [prefix + t for t in TOPICS]
    module.wildtopics = [prefix + t for t in WILD]
    module.nosubscribe_topics = ("test/nosubscribe",)


configure(client_test, "")
configure(client_test5, "client_test5/")
# The suite of MQTT 5 resets its topics to those without the prefix before it starts.
client_test5.setData = lambda: configure(client_test5, "client_test5/")



class Result(unittest.TextTestResult):
    def startTest(self, test):
        signal.alarm(SECONDS)
        super().startTest(test)

    def stopTest(self, test):
        signal.alarm(0)
        super().stopTest(test)


def late(signum, frame):
    raise TimeoutError(f"not done after {SECONDS} s")


signal.signal(signal.SIGALRM, late)
suite = unittest.TestSuite()
for module in (client_test, client_test5):
    names = [n for n in dir(module.Test) if n.startswith("test") or n == "will_message_test"]
    suite.addTests(
        module.Test(n) for n in names if not cases or f"{module.__name__}.{n}" in cases
    )
result = unittest.TextTestRunner(stream=sys.stdout, verbosity=2, resultclass=Result).run(suite)
sys.exit(not result.wasSuccessful())
