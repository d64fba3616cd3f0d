"""Runs the conformance suite against the weft of subject.lua: run.py CONTROL PORT PID. A line
for each case and role (ok or FAIL, role, clause, why), then a table; run.py --list only names
the cases. Ends with 1 when a case failed."""
import sys

import cases_client  # noqa: F401
import cases_closing  # noqa: F401
import cases_deflate  # noqa: F401
import cases_framing  # noqa: F401
import cases_limits  # noqa: F401
import cases_server  # noqa: F401
from suite import Runner, Subject, inventory

COLUMNS = "%-17s %5s %9s %7s %9s %7s"


def table(clauses, results):
    print(COLUMNS % ("", "", "server", "", "client", ""))
    print(COLUMNS % ("section", "cases", "passed", "failed", "passed", "failed"))
    sections = dict.fromkeys(clause.section for clause in clauses if clause.roles)
    total = [0] * 5
    for section in sections:
        own = [clause for clause in clauses if clause.section == section and clause.roles]
        row = [len(own)]
        for role in ("server", "client"):
            seen = [results[clause.name, role] for clause in own if role in clause.roles]
            row += [seen.count(None), len(seen) - seen.count(None)]
        total = [a + b for a, b in zip(total, row)]
        print(COLUMNS % (section, *row))
    print(COLUMNS % ("all", *total))


def footer(clauses):
    for kind, title in (("unmet", "not met, on purpose"), ("elsewhere", "tested elsewhere"),
                        ("none", "nothing to test")):
        print(f"\n{title}:")
        for clause in clauses:
            if clause.kind == kind:
                print(f"  RFC {clause.rfc} {clause.name}: {clause.text} ({clause.reason})")


def main():
    clauses = inventory()
    if sys.argv[1] == "--list":
        for clause in clauses:
            for role in clause.roles:
                print(f"{role}\t{clause.name}\t{clause.text}")
        return
    wanted = sys.argv[4:]
    runner, results = Runner(Subject(*map(int, sys.argv[1:4]))), {}
    for clause in clauses:
        for role in clause.roles:
            why = None
            if not wanted or clause.name in wanted:
                why = runner.run(clause, role)
                print("FAIL" if why else "ok", role, clause.name, why or "", sep="\t", flush=True)
            results[clause.name, role] = why
    if not wanted:
        print()
        table(clauses, results)
        footer(clauses)
    sys.exit(any(results.values()))


main()
