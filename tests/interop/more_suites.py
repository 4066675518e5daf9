"""Suites besides the Java clients': the published tools, stores that change hands, clients in other languages."""
import shutil
import subprocess
from pathlib import Path

import exchange
import mqadmin
from servers import BUILD

HERE = Path(__file__).resolve().parent
TOOLS_VERSION = "5.5.0"


def missing_tools(*tools):
    missing = [tool for tool in tools if shutil.which(tool) is None]
    return f"{', '.join(missing)} not installed" if missing else None


def tools_classpath():
    output = BUILD / f"classpath-{TOOLS_VERSION}.txt"
    if not output.exists():
        output.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run(["mvn", "-q", "-B", "-f", str(HERE / "java/pom.xml"), f"-Drocketmq.version={TOOLS_VERSION}", "dependency:build-classpath",
                        f"-Dmdep.outputFile={output}"], check=True)
    return output.read_text().strip()


def compiled(name, classpath):
    """The directory with the classes of java/src/<name>.java."""
    source, classes = HERE / f"java/src/{name}.java", BUILD / f"classes-{name}"
    made = classes / f"{name}.class"
    if not made.exists() or made.stat().st_mtime < source.stat().st_mtime:
        classes.mkdir(parents=True, exist_ok=True)
        subprocess.run(["javac", "-nowarn", "-encoding", "UTF-8", "-d", str(classes), "-cp", classpath, str(source)], check=True)
    return classes


def mqadmin_suite(servers, only):
    if why := missing_tools("java", "javac", "mvn"):
        return None, why
    classpath = tools_classpath()
    return mqadmin.run(servers, only, classpath, compiled("Admin", classpath))


def exchange_suite(servers, only):
    if why := missing_tools("java", "javac", "mvn"):
        return None, why
    brokers = BUILD / "classpath-servers.txt"
    if not brokers.exists():
        resolve_brokers(brokers)
    classpath = tools_classpath()
    return exchange.run(servers, only, classpath, compiled("Exchange", classpath))


def resolve_brokers(output):
    subprocess.run(["mvn", "-q", "-B", "-f", str(HERE / "servers/pom.xml"), f"-Drocketmq.version={TOOLS_VERSION}", "dependency:build-classpath",
                    f"-Dmdep.outputFile={output}"], check=True)


SUITES = {"mqadmin": mqadmin_suite, "exchange": exchange_suite}
