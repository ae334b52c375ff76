//! scratch
use faultless_simulator::reclaim::*;
struct R(u64);
impl R {
    fn n(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545F4914F6CDD1D)
    }
    fn below(&mut self, b: u64) -> u64 {
        ((u128::from(self.n()) * u128::from(b)) >> 64) as u64
    }
}
fn main() {
    let dir = std::path::Path::new("/tmp/a");
    let load = |n: &str| Trace::parse(&std::fs::read_to_string(dir.join(n)).unwrap()).unwrap();
    let mut cases: Vec<(String, Trace, Vec<usize>)> = vec![];
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
    let z = |s: f64| generated::zipf(20000, s, 200000, 1);
    cases.push(("zipf1".into(), z(1.0), vec![200, 2000, 4000, 8000]));
    cases.push(("zipf.7".into(), z(0.7), vec![200, 2000, 4000, 8000]));
    cases.push((
        "zipfscan".into(),
        generated::zipf_with_scans(20000, 0.9, 100000, 2),
        vec![200, 2000, 4000, 8000],
    ));
    cases.push(("4times".into(), z(0.9).repeated(4), vec![200, 2000, 4000, 8000]));
    cases.push((
        "loop-tight".into(),
        generated::repeated_loop(2000, 40000),
        vec![1950, 1850, 1750],
    ));
    cases.push(("loop-mid".into(), generated::repeated_loop(2000, 40000), vec![1600, 1400, 1200]));
    cases.push(("loop-far".into(), generated::repeated_loop(2000, 40000), vec![1000, 600, 200]));
    {
        // zipf + loop mix, interleaved
        let mut r = R(5);
        let zz = generated::zipf(5000, 0.9, 60000, 3);
        let mut l = 0;
        let mut v = vec![];
        for p in zz.requests() {
            v.push(u64::from(*p));
            if r.below(2) == 0 {
                v.push(10000 + l % 3000);
                l += 1;
            }
        }
        cases.push(("zipf+loop".into(), Trace::of(v), vec![400, 1000, 2000, 4000]));
    }
    {
        // phases: zipf over moving set
        let mut v = vec![];
        for ph in 0..10u64 {
            let zz = generated::zipf(4000, 0.8, 15000, ph + 10);
            for p in zz.requests() {
                v.push(ph * 2000 + zz.numbers()[*p as usize]);
            }
        }
        cases.push(("phases".into(), Trace::of(v), vec![400, 1000, 2000, 4000]));
    }
    {
        // moving window
        let mut r = R(9);
        let mut v = vec![];
        for i in 0..100000u64 {
            let u = r.below(2000) * r.below(2000) / 2000;
            v.push(i / 10 + 2000 - u);
        }
        cases.push(("moving".into(), Trace::of(v), vec![200, 500, 1000, 2000]));
    }
    {
        // lru-stack distance model
        let mut r = R(12);
        let mut v: Vec<u64> = vec![];
        let mut fresh = 0;
        for _ in 0..100000u64 {
            let x = r.below(100);
            if x < 12 || v.len() < 10 {
                v.push(fresh);
                fresh += 1;
            } else {
                let e = r.below(14);
                let d = 1 + r.below(1 << e);
                let at = v.len().saturating_sub(d as usize + 1);
                v.push(v[at]);
            }
        }
        cases.push(("recency".into(), Trace::of(v), vec![200, 1000, 3000, 6000]));
    }
    {
        // files read sequentially with zipf popularity (whole file), sizes 1..256 pages
        let mut r = R(77);
        let sizes: Vec<u64> = (0..400).map(|_| 1 + r.below(256)).collect();
        let mut base = vec![];
        let mut b = 0;
        for s in &sizes {
            base.push(b);
            b += (s + 63) / 64 * 64;
        }
        let zz = generated::zipf(400, 0.8, 1500, 8);
        let mut v = vec![];
        for p in zz.requests() {
            let f = zz.numbers()[*p as usize] as usize;
            v.extend(base[f]..base[f] + sizes[f]);
        }
        cases.push(("files".into(), Trace::of(v), vec![500, 2500, 5000, 10000, 20000]));
    }
    {
        // db: index zipf + two scans concurrently + log append
        let mut r = R(99);
        let zz = generated::zipf(3000, 1.0, 60000, 18);
        let mut v = vec![];
        let (mut s1, mut s2, mut log) = (0u64, 5000u64, 0u64);
        for p in zz.requests() {
            v.push(zz.numbers()[*p as usize]);
            match r.below(6) {
                0 => {
                    v.push(10000 + s1 % 8000);
                    s1 += 1;
                }
                1 => {
                    v.push(10000 + s2 % 8000);
                    s2 += 1;
                }
                2 => {
                    v.push(100000 + log / 4);
                    log += 1;
                }
                _ => {}
            }
        }
        cases.push(("db".into(), Trace::of(v), vec![300, 1000, 2500, 5000]));
    }
    let verbose = std::env::var("V").is_ok();
    if verbose {
        println!(
            "{:>10} {:>6} |  ours   scat   shuf |    s3   c2q+   lirs    lru",
            "trace", "pages"
        );
    }
    let (mut sum, mut n, mut worst) = ([0.0; 3], 0.0, [99.0f64; 3]);
    let mut out = String::new();
    for (name, trace, sizes) in &cases {
        let mut ds = [0.0; 3];
        let mut w = 99.0f64;
        for c in sizes {
            let h = |k: Contestant| run(k, trace, *c).hit_percent();
            let s3 = h(Contestant::S3Fifo);
            let o = [Layout::Natural, Layout::Scattered, Layout::Shuffled]
                .map(|l| h(Contestant::Faultless(l)));
            for i in 0..3 {
                ds[i] += o[i] - s3;
                sum[i] += o[i] - s3;
                worst[i] = worst[i].min(o[i] - s3);
                w = w.min(o[i] - s3);
            }
            n += 1.0;
            if verbose {
                println!(
                    "{name:>10} {c:>6} | {:>5.1} {:>6.1} {:>6.1} | {s3:>5.1} {:>6.1} {:>6.1} {:>6.1}",
                    o[0],
                    o[1],
                    o[2],
                    h(Contestant::Clock2QPlus),
                    h(Contestant::Lirs),
                    h(Contestant::Lru)
                );
            }
        }
        let k = sizes.len() as f64;
        out += &format!("{name} {:.1}/{:.1}/{:.1}({:.1}) ", ds[0] / k, ds[1] / k, ds[2] / k, w);
    }
    println!(
        "{out}\n   mean {:.2} {:.2} {:.2} worst {:.2} {:.2} {:.2}",
        sum[0] / n,
        sum[1] / n,
        sum[2] / n,
        worst[0],
        worst[1],
        worst[2]
    );
}
