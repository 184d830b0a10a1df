//! Tokens per core-second of a model: prefill, and decode at several batch sizes.
use elis_llm::*;
use std::time::Instant;
fn main() {
    let path = std::env::args().nth(1).unwrap();
    let f32 = std::env::args().nth(2).is_some();
    let t = Instant::now();
    let mut source = Source::open(path.as_ref()).unwrap();
    let model = Model::load(
        &mut source,
        Cpu::detect(),
        f32.then_some(Precision::F32),
        |_| (),
    )
    .unwrap();
    println!("loaded in {:?}", t.elapsed());
    let v = &source.vocabulary;
    let mut space = Workspace::default();
    let mut cache = Cache::new(model.config().kv_layout(), 300);
    let chat = "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n<|im_start|>user\nWhat is the capital of France?<|im_end|>\n<|im_start|>assistant\n";
    let mut s = Sequence::new(&v.encode(chat, true).unwrap());
    let mut d = Decoder::new(v);
    for _ in 0..60 {
        let n = s.left();
        s.prepare(n, &mut cache).unwrap();
        let logits = model.forward(&[s.part(n)], &mut cache, &mut space);
        let t = likeliest(logits);
        s.advance(n);
        if v.ends(t) {
            break;
        }
        s.push(t);
        print!("{}", d.push(t).unwrap());
    }
    println!();
    s.evict(&mut cache);
    let text =
        "The quick brown fox jumps over the lazy dog and runs away from the bear. ".repeat(60);
    let tokens = v.encode(&text, true).unwrap();
    for n in [256usize] {
        let mut best = f64::MAX;
        for _ in 0..5 {
            let mut s = Sequence::new(&tokens[..n]);
            s.prepare(n, &mut cache).unwrap();
            let t = Instant::now();
            model.forward(&[s.part(n)], &mut cache, &mut space);
            best = best.min(t.elapsed().as_secs_f64());
            s.evict(&mut cache);
        }
        println!("prefill {n}: {:.0} t/s", n as f64 / best);
    }
    for b in [1usize, 4, 8] {
        let mut seqs: Vec<Sequence> = (0..b)
            .map(|i| Sequence::new(&tokens[..137 + i * 17]))
            .collect();
        for s in &mut seqs {
            let n = s.left();
            s.prepare(n, &mut cache).unwrap();
            model.forward(&[s.part(n)], &mut cache, &mut space);
            s.advance(n);
            s.push(tokens[300]);
        }
        let mut best = f64::MAX;
        for _ in 0..40 {
            for s in &mut seqs {
                s.prepare(1, &mut cache).unwrap();
            }
            let t = Instant::now();
            let parts: Vec<Part> = seqs.iter().map(|s| s.part(1)).collect();
            let l = model.forward(&parts, &mut cache, &mut space);
            let vs = model.config().vocabulary;
            let next: Vec<u32> = l.chunks(vs).map(likeliest).collect();
            best = best.min(t.elapsed().as_secs_f64());
            for (s, t) in seqs.iter_mut().zip(next) {
                s.advance(1);
                s.push(t);
            }
        }
        println!("decode b={b}: {:.0} t/s", b as f64 / best);
        for s in &mut seqs {
            s.evict(&mut cache);
        }
    }
}
