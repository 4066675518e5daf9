"""What the suites run: class paths by Maven, compiled Java programs, and the lines their programs print."""
import shutil
import subprocess
from pathlib import Path

from servers import BUILD, CLASSPATHS, VERSIONS

HERE = Path(__file__).resolve().parent
LIMIT_SECONDS = 900


def missing(*tools):
    """What to say when one of them is not installed, else nothing."""
    absent = [tool for tool in tools if shutil.which(tool) is None]
    return f"{', '.join(absent)} not installed" if absent else None


def missing_java():
    return missing("java", "javac", "mvn")


def resolve(pom, version, output):
    """The class path Maven finds for a pom; kept until the pom changes."""
    if output.exists() and output.stat().st_mtime > pom.stat().st_mtime:
        return output.read_text().strip()
    output.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mvn", "-q", "-B", "-f", str(pom), f"-Drocketmq.version={version}", "dependency:build-classpath", f"-Dmdep.outputFile={output}"], check=True)
    return output.read_text().strip()


def client_classpath(version):
    return resolve(HERE / "java/pom.xml", version, BUILD / f"classpath-{version}.txt")


def broker_classpath(target):
    return resolve(HERE / "servers/pom.xml", VERSIONS[target], BUILD / CLASSPATHS[target])


def java(name, version, directory, *properties):
    """The command of java/src/<name>.java on the published client of a version; compiled when a source has changed. Its arguments follow."""
    sources, classes, classpath = HERE / "java/src", BUILD / f"classes-{version}/{name}", client_classpath(version)
    made = classes / f"{name}.class"
    if not made.exists() or made.stat().st_mtime < max(each.stat().st_mtime for each in sources.glob("*.java")):
        classes.mkdir(parents=True, exist_ok=True)
        subprocess.run(["javac", "-nowarn", "-encoding", "UTF-8", "-d", str(classes), "-cp", classpath, "-sourcepath", str(sources), str(sources / f"{name}.java")], check=True)
    return ["java", "-Xmx512m", "-Drocketmq.client.logUseSlf4j=true", f"-Duser.home={directory}", *properties, "-cp", f"{classes}:{classpath}", name]


def case_of(line):
    """(name, PASS or FAIL, ms, detail) of `CASE<tab>name<tab>...`; nothing of any other line."""
    parts = line.rstrip("\n").split("\t")
    return (parts[1], parts[2], int(parts[3]), parts[4]) if parts[0] == "CASE" and len(parts) >= 5 else None


def ended(cases, code, errors):
    """The cases, and one more when the program ended badly or told of none."""
    if code != 0 or not cases:
        cases.append(("the suite itself", "FAIL", 0, f"exit code {code}: {errors[-400:]}".replace("\n", " ")))
    return cases


def cases_of(command, directory, **options):
    """Runs a program that prints its cases."""
    errors = directory / "suite.err"
    with open(errors, "w") as err:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=err, text=True, timeout=LIMIT_SECONDS, cwd=directory, **options)
    return ended([case for line in done.stdout.splitlines() if (case := case_of(line))], done.returncode, errors.read_text(errors="replace"))
