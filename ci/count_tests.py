"""Counts test results in Bazel's build event files and prints them.

A target counts by the test cases in its test.xml; one that failed without
saying which case did (it crashed, ran out of time or did not build) counts as
one failure. The last line is "N passed, N failed".
"""

import json
import sys
import urllib.parse
import urllib.request
import xml.etree.ElementTree as ElementTree


def count_cases(xml_path):
    """Returns how many cases a test.xml holds that passed, failed, were skipped."""
    passed = failed = skipped = 0
    try:
        cases = ElementTree.parse(xml_path).iter("testcase")
    except ElementTree.ParseError:  # The test ended before it wrote.
        cases = []
    for case in cases:
        if case.find("failure") is not None or case.find("error") is not None:
            failed += 1
        elif case.find("skipped") is not None or case.get("status") == "notrun":
            skipped += 1
        else:
            passed += 1
    return passed, failed, skipped


def xml_path(event):
    """Returns the path of a test result's test.xml, or None."""
    for output in event["testResult"].get("testActionOutput", []):
        if output["name"] == "test.xml":
            return urllib.request.url2pathname(urllib.parse.urlparse(output["uri"]).path)
    return None


def add(counts, more):
    """Returns the sums of two triples of counts."""
    return tuple(map(sum, zip(counts, more)))


def count_events(event_file):
    """Returns the same for all that an event file tells of; prints what is of which target."""
    with open(event_file) as events:
        # Each try of each shard reports; of a target's tries the last counts.
        results = {}
        unbuilt = []
        for event in map(json.loads, events):
            if "testResult" in event:
                key = event["id"]["testResult"]
                results[(key["label"], key.get("shard"))] = event
            elif "targetCompleted" in event.get("id", {}):
                if "aborted" in event or not event.get("completed", {}).get("success"):
                    unbuilt.append(event["id"]["targetCompleted"]["label"])
    for label in unbuilt:
        print("NOT BUILT %s" % label)
    total = (0, len(unbuilt), 0)
    for (label, _), event in sorted(results.items(), key=lambda item: item[0][0]):
        path = xml_path(event)
        counts = count_cases(path) if path else (0, 0, 0)
        status = event["testResult"]["status"]
        if status != "PASSED" and counts[1] == 0:
            counts = (counts[0], 1, counts[2])
        print("%-8s %s: %d passed, %d failed, %d skipped" % ((status, label) + counts))
        total = add(total, counts)
    return total


def main(event_files):
    counts = (0, 0, 0)
    for event_file in event_files:
        counts = add(counts, count_events(event_file))
    return conclude(counts)


def conclude(counts):
    """Prints the line for the whole; returns the exit status."""
    passed, failed, skipped = counts
    print("%d passed, %d failed%s" % (passed, failed, ", %d skipped" % skipped if skipped else ""))
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
