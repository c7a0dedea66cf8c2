"""Wall time of one round against plain TRL: GRPOTrainer with the same model, prompts and reward, to the same accuracy.

    python benchmarks/speed/round.py [--prompts 2000] [--n 8] [--limit 200] [--rates 1e-4 5e-4] [--most 4] [--json]
    python benchmarks/speed/round.py --quick

The task is that of `tao-hub quickstart --suite backoffice`: its small policy, its unlabelled prompts, its SQL rewards.
Ours is one round (draw, score, combine, `trl/best-of-n`), loading and the store included. The peer is TRL's own
`GRPOTrainer` with those rewards, composed in the same way, as its reward function (a refused candidate earns 0); its
seconds start with its first step. Both are measured greedily on `dev`, whose seconds count for neither side. The peer
runs once per learning rate until it is as accurate as ours, or `--most` times as long; the fastest counts. `reached`
says whether any got there: if none did, the ratio is an upper bound. Where ours gained nothing there is no ratio.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import transformers
from tao_demo.office.plan import MAX_TOKENS, plan
from tao_demo.office.suite import TINY, Backoffice
from tao_generate_hf import loading
from tao_generate_hf.generator import CausalLM, render
from transformers import PrinterCallback, TrainerCallback

import tao_hub
from tao_hub.guards import tuning_slice
from tao_hub.judging import judged_by

Judge = Callable[[tao_hub.Group], tao_hub.Group]


def accuracy(model: Path, limit: int) -> float:
    """Greedy execution accuracy on the first prompts of dev."""
    prompts = list(Backoffice().prompts("dev"))[:limit]
    generator = CausalLM(CausalLM.Options(model=str(model), dtype="float32", device="cpu"))
    requests = [tao_hub.Request(prompt, 1, 0) for prompt in prompts]
    done = dict(generator.generate(requests, tao_hub.Sampling(0.0, MAX_TOKENS)))
    pairs = [(p, tao_hub.Candidate(p.digest, done[i][0].text)) for i, p in enumerate(prompts)]
    hub = tao_hub.Hub()
    metric = hub.reward(hub.resolve("reward", Backoffice.metric, Backoffice()))
    try:
        scores = tao_hub.score_pairs(metric, pairs, 300.0)
    finally:
        metric.close()
    return sum(score.value or 0.0 for score in scores) / len(prompts)


def wanted(args: argparse.Namespace) -> tao_hub.Plan:
    training = {} if args.epochs is None else {"epochs": args.epochs}
    return plan(rounds=1, prompts=args.prompts, limit=1, n=args.n, **training)


def run_ours(args: argparse.Namespace, work: Path) -> tuple[Path, dict[str, Any]]:
    """One round: the tuned policy, and what it took; seconds inside components, by stage."""
    with tao_hub.open_session(work / "ours.db", quiet=True) as session:
        started = time.perf_counter()
        data = tao_hub.tune_and_report(session, wanted(args), work / "ours.html")
        wall = time.perf_counter() - started
        drawn = next(iter(session.store.rows("SELECT sum(output_tokens) FROM candidates", ())))[0]
        stages = {stage: round(seconds, 2) for stage, seconds in session.clock.items()}
    folder = Path(data["tuned"]["policy"])
    record = json.loads((folder / "tao-hub.json").read_text(encoding="utf-8"))
    return folder, {"seconds": round(wall, 2), **stages, "steps": record["steps"], "drawn_tokens": int(drawn)}


class Rewards:
    """The plan's rewards as a TRL reward function: the composed total, 0 for a refused candidate."""

    __name__ = "plan"

    def __init__(self, session: Any, args: argparse.Namespace, prompts: Sequence[tao_hub.Prompt]) -> None:
        asked = wanted(args)
        part = tuning_slice(session, asked)
        opened = {u.key: session.informed(session.reward(u.ref, asked.suite_ref), part) for u in asked.rewards}
        self.judge: Judge = judged_by(session, part, asked.rewards, opened)
        self.prompts, self.seconds, self.tokens = prompts, 0.0, 0

    def __call__(self, completions: list[str], completion_ids: list[list[int]], place: list[int], **_: Any) -> Any:
        started = time.perf_counter()
        self.tokens += sum(map(len, completion_ids))
        found, members = [0.0] * len(place), defaultdict(list)
        for i, which in enumerate(place):
            members[which].append(i)
        for which, some in members.items():
            prompt = self.prompts[which]
            drawn = (tao_hub.Candidate(prompt.digest, completions[i].strip(), index=j) for j, i in enumerate(some))
            judged = self.judge(tao_hub.Group(prompt, tuple(drawn)))
            for i, total, refused in zip(some, judged.totals, judged.rejected):
                found[i] = 0.0 if refused or total is None or total.value is None else total.value
        self.seconds += time.perf_counter() - started
        return found


class Watch(TrainerCallback):
    """Measures dev every `--every` steps, off the clock, and stops at the target or when the time is over."""

    def __init__(self, target: float, most: float, args: argparse.Namespace, work: Path) -> None:
        self.target, self.most, self.args, self.work = target, most, args, work
        self.paused, self.best, self.reached, self.steps = 0.0, 0.0, False, 0

    def on_train_begin(self, *args: Any, **kwargs: Any) -> None:
        self.started = time.perf_counter()

    def seconds(self) -> float:
        return time.perf_counter() - self.started - self.paused

    def on_step_end(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        over = self.seconds() >= self.most
        self.steps = state.global_step
        if over or self.steps % self.args.every == 0 or self.steps == state.max_steps:
            before = time.perf_counter()
            model.save_pretrained(self.work)
            self.best = max(self.best, found := accuracy(self.work, self.args.limit))
            self.reached = found >= self.target
            self.paused += time.perf_counter() - before
        control.should_training_stop = over or self.reached

    def on_train_end(self, *args: Any, **kwargs: Any) -> None:
        self.total = self.seconds()


def run_trl(args: argparse.Namespace, rate: float, target: float, most: float, work: Path) -> dict[str, Any]:
    from datasets import Dataset
    from trl import GRPOConfig, GRPOTrainer

    work.mkdir()
    model, tokenizer = loading.load(TINY, None, "float32", "cpu")
    tokenizer.save_pretrained(work)
    prompts = list(Backoffice().prompts("prompts"))[: args.prompts]
    rows = [{"prompt": render(tokenizer, p.messages), "place": i} for i, p in enumerate(prompts)]
    config = GRPOConfig(
        str(work / "trl"), num_train_epochs=100, learning_rate=rate, lr_scheduler_type="constant", use_cpu=True,
        per_device_train_batch_size=args.batch, num_generations=args.n, max_completion_length=MAX_TOKENS,
        gradient_checkpointing=False, bf16=False, report_to="none", save_strategy="no", disable_tqdm=True, seed=0,
    )  # fmt: skip
    with tao_hub.open_session(work / "trl.db", quiet=True) as session:
        rewards, watch = Rewards(session, args, prompts), Watch(target, most, args, work)
        trainer = GRPOTrainer(
            model.train(), rewards, config, Dataset.from_list(rows), processing_class=tokenizer, callbacks=[watch]
        )
        trainer.remove_callback(PrinterCallback)
        drawing, draw = [0.0], trainer._generate

        def timed(*given: Any, **more: Any) -> Any:
            started = time.perf_counter()
            found = draw(*given, **more)
            drawing[0] += time.perf_counter() - started
            return found

        trainer._generate = timed
        trainer.train()
    update = watch.total - drawing[0] - rewards.seconds
    return {
        "rate": rate, "seconds": round(watch.total, 2), "generate": round(drawing[0], 2),
        "score": round(rewards.seconds, 2), "update": round(update, 2), "steps": watch.steps,
        "drawn_tokens": rewards.tokens, "dev": round(watch.best, 4), "reached": watch.reached,
    }  # fmt: skip


def measure(args: argparse.Namespace, work: Path) -> dict[str, Any]:
    before = accuracy(TINY, args.limit)
    folder, ours = run_ours(args, work)
    ours["dev"] = round(accuracy(folder, args.limit), 4)
    most = args.most * ours["seconds"]
    runs = [run_trl(args, rate, ours["dev"], most, work / f"trl-{i}") for i, rate in enumerate(args.rates)]
    best = min(runs, key=lambda run: (not run["reached"], run["seconds"], -run["dev"]))
    return {
        "dev_before": round(before, 4), "ours": ours, "trl": best, "trl_runs": runs,
        "ratio": round(ours["seconds"] / best["seconds"], 3) if ours["dev"] > before else None,
        "reached": best["reached"], "prompts": args.prompts, "n": args.n,
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompts", type=int, default=2000)
    parser.add_argument("--n", type=int, default=8, help="candidates of a prompt")
    parser.add_argument("--epochs", type=float, help="of ours (default: the plan's)")
    parser.add_argument("--limit", type=int, default=200, help="prompts of dev")
    parser.add_argument("--rates", type=float, nargs="+", default=[1e-4, 5e-4], help="the peer's learning rates")
    parser.add_argument("--batch", type=int, default=128, help="the peer's candidates per step")
    parser.add_argument("--every", type=int, default=10, help="the peer's steps between looks at dev")
    parser.add_argument("--most", type=float, default=4.0, help="times as long as ours, at most")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    parser.add_argument("--quick", action="store_true", help="24 prompts × 4, one learning rate: does it run")
    args = parser.parse_args()
    if args.quick:
        args.prompts, args.n, args.epochs, args.limit, args.rates = 24, 4, 1.0, 16, [1e-4]
        args.batch, args.every, args.most = 16, 2, 1.0
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    with tempfile.TemporaryDirectory() as work:
        result = measure(args, Path(work))
    if args.json:
        print(json.dumps(result))
        return
    for key, value in result.items():
        print(f"{key:12} {value}")


if __name__ == "__main__":
    main()
