//! Runs models: one, in this process, or all, each in a process of its own.
//!
//! ```text
//! faultless-model all [--long] [--only TEXT]
//! faultless-model list
//! faultless-model run MODEL [--plant BUG] [--search bound:N|random:N|pct:N|all:N] [--seed S]
//! faultless-model run MODEL [--plant BUG] --replay SCHEDULE
//! ```
#![forbid(unsafe_code)]

use std::env;
use std::process::ExitCode;
use std::time::Instant;

use faultless_model::catalogue::{LOOM, SHUTTLE, loom_model, shuttle_model};
use faultless_model::on_loom;
use faultless_model::on_shuttle::explore::{self, Search};
use faultless_model::on_shuttle::words::Points;
use faultless_model::plant::Plant;
use faultless_model::suite::{self, Case, Effort, Verdict};

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let result = match arguments.first().map(String::as_str) {
        Some("all") => all(&arguments),
        Some("list") => {
            list();
            Ok(ExitCode::SUCCESS)
        }
        Some("run") => run(&arguments),
        _ => Err("say all, list, or run MODEL".to_owned()),
    };
    result.unwrap_or_else(|message| {
        eprintln!("{message}");
        ExitCode::from(2)
    })
}

/// The word after `--name`.
fn option<'a>(arguments: &'a [String], name: &str) -> Option<&'a str> {
    let at = arguments.iter().position(|argument| argument == name)?;
    arguments.get(at + 1).map(String::as_str)
}

fn list() {
    for model in LOOM {
        let twins: Vec<_> = model.twins.iter().map(|plant| plant.name()).collect();
        println!("loom     {:44} bound {}  finds {}", model.name, model.bound, twins.join(", "));
    }
    for model in SHUTTLE {
        let twins: Vec<_> = model.twins.iter().map(|plant| plant.name()).collect();
        println!("shuttle  {:44} finds {}", model.name, twins.join(", "));
    }
}

fn run(arguments: &[String]) -> Result<ExitCode, String> {
    let name = arguments.get(1).ok_or("run which model?")?;
    let plant = match option(arguments, "--plant") {
        Some(plant) => Plant::named(plant).ok_or("no such plant")?,
        None => Plant::Nothing,
    };
    plant.plant();
    let (kind, number) = match option(arguments, "--search") {
        Some(search) => search.split_once(':').ok_or("a search is kind:number")?,
        None => ("", "0"),
    };
    let number: usize = number.parse().map_err(|_| "not a number")?;
    let start = Instant::now();
    let what = if let Some(model) = loom_model(name) {
        let bound = if kind == "bound" { number } else { model.bound };
        let explored = on_loom::explore::explore(bound, model.set_up);
        format!(
            "{:>8} executions, every one with at most {bound} preemptions, {} words",
            explored.executions, explored.hot_words
        )
    } else {
        let model = shuttle_model(name).ok_or("no such model: see list")?;
        run_shuttle(arguments, model.scenario, kind, number)?
    };
    println!("{what}, {:.1?}", start.elapsed());
    Ok(ExitCode::SUCCESS)
}

fn run_shuttle(
    arguments: &[String],
    scenario: fn(),
    kind: &str,
    number: usize,
) -> Result<String, String> {
    let seed = match option(arguments, "--seed")
        .map(str::to_owned)
        .or_else(|| env::var("FAULTLESS_SEED").ok())
    {
        Some(seed) => seed.parse().map_err(|_| "not a seed")?,
        None => 1,
    };
    let search = match (option(arguments, "--replay"), kind) {
        (Some(schedule), _) => {
            let points = if kind == "all" { Points::Locks } else { Points::Words };
            Search::Replay { schedule: schedule.to_owned(), points }
        }
        (None, "all") => Search::All { executions: number },
        (None, "pct") => Search::Pct { seed, depth: 4, executions: number },
        (None, _) => Search::Random { seed, executions: number.max(1) },
    };
    let how = match &search {
        Search::Replay { .. } => "replayed".to_owned(),
        Search::All { .. } => "depth first".to_owned(),
        Search::Pct { depth, .. } => format!("PCT of depth {depth}, seed {seed}"),
        Search::Random { .. } => format!("random, seed {seed}"),
    };
    let executions = explore::explore(search, scenario);
    let complete = match kind {
        "all" if executions < number => ", complete",
        "all" => ", cut off by the budget",
        _ => "",
    };
    Ok(format!("{executions:>8} executions, {how}{complete}"))
}

fn all(arguments: &[String]) -> Result<ExitCode, String> {
    let program = env::current_exe().map_err(|error| error.to_string())?;
    let long = arguments.iter().any(|argument| argument == "--long");
    let effort = if long { Effort::Long } else { Effort::Everyday };
    let only = option(arguments, "--only").unwrap_or_default();
    let groups: [(&str, Vec<Case>); 4] = [
        ("loom: the code as it ships", suite::loom_cases(effort)),
        ("loom: planted bugs, each must be found", suite::loom_twins()),
        ("shuttle: the code as it ships", suite::shuttle_cases(effort)),
        (
            "shuttle: planted bugs and historical controls, each must be found",
            suite::shuttle_twins(),
        ),
    ];
    let mut bad = 0;
    for (title, cases) in groups {
        println!("\n{title}");
        for case in cases.iter().filter(|case| case.model.contains(only)) {
            let outcome = case.run(&program);
            let mark = if outcome.verdict == Verdict::Good { "ok  " } else { "FAIL" };
            bad += usize::from(outcome.verdict == Verdict::Bad);
            let plant = if case.plant == Plant::Nothing { "" } else { case.plant.name() };
            println!("{mark} {:42} {plant:18} {}", case.model, outcome.summary);
            if let Some(schedule) = outcome.schedule {
                println!(
                    "     to replay: cargo xtask model -- run {} --plant {} --replay {schedule}",
                    case.model,
                    case.plant.name()
                );
            }
        }
    }
    println!(
        "\n{}",
        if bad == 0 { "all as it must be".to_owned() } else { format!("{bad} not as it must be") }
    );
    Ok(if bad == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
