"""HyperQueue in this process: a server and a worker with two CPUs. A request a line on stdin, an
answer a line on stdout, both JSON."""

import json
import os
import shutil
import sys
import tempfile
import time

try:
    from hyperqueue import Job
    from hyperqueue.cluster import LocalCluster, WorkerConfig
except ImportError as error:
    print(json.dumps({"missing": str(error)}), flush=True)
    sys.exit(0)

# It greets on stdout, which is for the answers.
answers = os.fdopen(os.dup(1), "w")
os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def answer(**fields):
    print(json.dumps(fields), file=answers, flush=True)


begun = time.time()
cluster = LocalCluster()
cluster.start_worker(WorkerConfig(cores=2))
client = cluster.client()
folder = tempfile.mkdtemp(prefix="runyard-bench-hq-")
os.chdir(folder)
answer(pid=os.getpid(), start_s=time.time() - begun)

for number, line in enumerate(sys.stdin):
    request = json.loads(line)
    # The Python client waits by asking once a second, so the end is a file that the last task makes.
    mark = request.get("mark") or f"{folder}/mark-{number}"
    streams = {} if request.get("streams", True) else {"stdout": None, "stderr": None}
    job = Job(max_fails=1)
    tasks = [job.program(request["argv"], **streams) for _ in range(request["n"])]
    if not request.get("mark"):
        job.program(["/usr/bin/touch", mark], deps=tasks, **streams)
    before = time.time_ns()
    client.submit(job)
    while not os.path.exists(mark):
        time.sleep(0.002)
    ended = os.stat(mark).st_mtime_ns
    answer(submitted_ns=before, s=(ended - before) / 1e9)

shutil.rmtree(folder, ignore_errors=True)
# Its threads do not let go of the process.
os._exit(0)
