//! scratch
use faultless_simulator::reclaim::*;
fn main() {
    let dir = std::path::Path::new("/tmp/a");
    let only: Vec<String> = std::env::args().skip(1).collect();
    let all = only.iter().any(|o| o == "all");
    let mut cases: Vec<(String, Trace, Vec<usize>)> = vec![];
    let load = |n: &str| Trace::parse(&std::fs::read_to_string(dir.join(n)).unwrap()).unwrap();
    cases.push(("cloudphys".into(), load("cloudphysics.txt"), vec![489, 4897, 9794, 19589]));
    for n in ["2_pools", "cs", "multi1", "ps", "zigzag"] {
        let t = load(&format!("{n}.txt"));
        let p = t.pages();
        let own = match n {
            "2_pools" => 100,
            "zigzag" => 500,
            _ => 1000,
        };
        cases.push((n.into(), t, vec![own, p / 20, p / 10, p / 5, p * 2 / 5]));
    }
    let z = |s: f64| generated::zipf(20000, s, 300000, 1);
    cases.push(("zipf1".into(), z(1.0), vec![200, 2000, 4000, 8000]));
    cases.push(("zipf.7".into(), z(0.7), vec![200, 2000, 4000, 8000]));
    cases.push((
        "zipf1scan".into(),
        generated::zipf_with_scans(20000, 1.0, 200000, 2),
        vec![200, 2000, 4000, 8000],
    ));
    cases.push((
        "loop2k".into(),
        generated::repeated_loop(2000, 60000),
        vec![200, 1000, 1500, 1900],
    ));
    if std::env::var("X4").is_ok() {
        for c in &mut cases {
            c.1 = c.1.repeated(4);
        }
    }
    println!(
        "{:>10} {:>6} | {:>6} {:>6} {:>6} | {:>6} {:>6} {:>6} {:>6} {:>6} {:>6} {:>6} {:>6} {:>6} {:>6} | visits nat/scat longest writes%",
        "trace",
        "pages",
        "ours",
        "scat",
        "shuf",
        "s3",
        "c2q+",
        "lirs",
        "arc",
        "2q",
        "sieve",
        "clock",
        "lru",
        "fifo",
        "belady"
    );
    let (mut sum, mut n, mut worst) = ([0.0; 3], 0.0, [99.0f64; 3]);
    for (name, trace, sizes) in &cases {
        for c in sizes {
            let list: Vec<Contestant> = Contestant::ALL.into_iter().collect();
            let mut line = format!("{name:>10} {c:>6} |");
            let s3 = run(Contestant::S3Fifo, trace, *c).hit_percent();
            let mut tail = String::from("|");
            for (i, who) in list.into_iter().enumerate() {
                if i > 3 && !all && who != Contestant::Lru {
                    continue;
                }
                let r = run(who, trace, *c);
                if i == 3 {
                    line += " |";
                }
                line += &format!(" {:>6.1}", r.hit_percent());
                if i < 3 {
                    sum[i] += r.hit_percent() - s3;
                    worst[i] = worst[i].min(r.hit_percent() - s3);
                    let k = r.costs.unwrap();
                    if i < 2 {
                        tail += &format!(
                            " {:.2} {} {:.0}%",
                            k.visits_per_eviction(),
                            k.longest,
                            100.0 * k.writes as f64 / k.hits.max(1) as f64
                        );
                    }
                }
            }
            n += 1.0;
            println!("{line} {tail}");
        }
    }
    println!(
        "mean vs s3: {:.2} {:.2} {:.2} worst {:.2} {:.2} {:.2}",
        sum[0] / n,
        sum[1] / n,
        sum[2] / n,
        worst[0],
        worst[1],
        worst[2]
    );
}
