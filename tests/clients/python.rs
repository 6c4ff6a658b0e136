//! The Python client of the README, word for word, with freshly installed grpcio-tools; and server reflection as
//! Python's grpcio-reflection sees it.

use mq_proto::v1;
use mq_proto::v1::admin_service_client::AdminServiceClient;
use mq_tests::process::{Mqd, scratch};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the package lies in the repository").to_owned()
}

/// The one block of the README in this language.
fn readme_block(language: &str) -> String {
    let readme = std::fs::read_to_string(root().join("README.md")).expect("there is a README");
    let fence = format!("```{language}\n");
    let blocks: Vec<&str> = readme.split(&fence).skip(1).collect();
    assert_eq!(blocks.len(), 1, "the README has one block of {language}");
    blocks[0].split("```").next().expect("a split has a first part").to_owned()
}

/// The one line of the README that runs this command.
fn readme_line(command: &str) -> String {
    let readme = std::fs::read_to_string(root().join("README.md")).expect("there is a README");
    let prompt = format!("$ {command}");
    let lines: Vec<&str> = readme.lines().filter(|line| line.starts_with(&prompt)).collect();
    assert_eq!(lines.len(), 1, "the README has one line that begins with {prompt:?}");
    lines[0].trim_start_matches("$ ").to_owned()
}

fn run(command: &mut Command) -> Output {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(
        output.status.success(),
        "{command:?} failed with {}:\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

/// A virtual environment with the packages of the README, or why there is none.
fn environment(dir: &Path) -> Result<PathBuf, String> {
    let made = Command::new("python3").args(["-m", "venv"]).arg(dir.join("venv")).output();
    match made {
        Ok(output) if output.status.success() => {}
        Ok(output) => return Err(format!("python3 -m venv: {}", String::from_utf8_lossy(&output.stderr))),
        Err(error) => return Err(format!("python3: {error}")),
    }
    let python = dir.join("venv/bin/python");
    let packages = ["grpcio-tools", "grpcio-reflection"];
    let installed = Command::new(&python).args(["-m", "pip", "install", "--quiet"]).args(packages).output();
    match installed {
        Ok(output) if output.status.success() => Ok(python),
        Ok(output) => Err(format!("pip install {packages:?}: {}", String::from_utf8_lossy(&output.stderr))),
        Err(error) => Err(format!("pip: {error}")),
    }
}

const REFLECTION: &str = "
import sys, grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
database = ProtoReflectionDescriptorDatabase(grpc.insecure_channel(sys.argv[1]))
print('\\n'.join(sorted(database.get_services())))
";

#[test]
fn the_python_client_of_the_readme_produces_and_reads_and_reflection_lists_the_services() {
    let dir = scratch();
    let python = match environment(dir.path()) {
        Ok(python) => python,
        Err(why) => {
            mq_tests::say(&format!("skipped: the Python client of the README: {why}"));
            return;
        }
    };
    // The README's own line, in a folder of ours that has `proto` in it as a clone has.
    std::os::unix::fs::symlink(root().join("proto"), dir.path().join("proto")).expect("links can be made");
    let bin = python.parent().expect("a program lies in a folder").display().to_string();
    let path = format!("{bin}:{}", std::env::var("PATH").unwrap_or_default());
    let line = readme_line("python -m grpc_tools.protoc");
    run(Command::new("sh").current_dir(dir.path()).env("PATH", path).args(["-c", &line]));

    let mqd = Mqd::start(&dir.path().join("data"));
    tokio::runtime::Runtime::new().expect("a runtime starts").block_on(async {
        let request =
            v1::CreateTopicRequest { topic: "hello".to_owned(), partition_count: 3, ..Default::default() };
        AdminServiceClient::new(mqd.channel().await)
            .create_topic(request)
            .await
            .expect("the topic is created");
    });
    let address = mqd.grpc.to_string();
    let program = readme_block("python");
    assert!(program.contains("127.0.0.1:9650"), "the README's client talks to the default address");
    std::fs::write(dir.path().join("client.py"), program.replace("127.0.0.1:9650", &address))
        .expect("it is writable");
    for round in 1..=2 {
        let output = run(Command::new(&python).current_dir(dir.path()).arg("client.py"));
        let printed = String::from_utf8(output.stdout).expect("the client prints text");
        assert_eq!(printed.matches("from Python").count(), round, "printed:\n{printed}");
    }

    let output = run(Command::new(&python).args(["-c", REFLECTION, &address]));
    let services = String::from_utf8(output.stdout).expect("the client prints text");
    for service in ["AdminService", "ClusterService", "ConsumerService", "GroupService", "ProducerService"] {
        assert!(services.contains(&format!("mq.v1.{service}\n")), "{service} is not in:\n{services}");
    }
    assert!(!services.contains("QueueService"), "the sketch of a later service is not served");
}
