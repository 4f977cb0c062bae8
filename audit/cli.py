"""The command line: parse, call, exit code. Every command is a few lines; the work is done elsewhere."""

from __future__ import annotations

import importlib.metadata
import json
import os
import secrets
import sys
import traceback
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console
from typer.exceptions import TyperException

from audit import exit_codes
from audit.progress import ConsoleProgress
from audit.store import RunDirectory, jsonable
from canaries.errors import InputError

EXIT_CODES = (
    "Exit codes: 0 not refuted, 1 refuted or over budget, 2 usage or bad input, 3 inconclusive, 4 some units failed."
)

app = typer.Typer(
    name="firedamp",
    help="How much does a training pipeline that claims differential privacy really leak, at least?\n\n" + EXIT_CODES,
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document, and nothing else, on standard output.")]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Every random draw derives from it.")]


@app.command()
def sweep(
    config: Annotated[Path, typer.Argument(help="The experiment, a TOML file.", metavar="CONFIG")],
    out: Annotated[
        Path | None, typer.Option("--out", help="Run directory; by default runs/NAME, or runs/NAME-sequential.")
    ] = None,
    overrides: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a key: audits.digits.models=4.")
    ] = None,
    jobs: Annotated[int, typer.Option("--jobs", help="Workers; -1 for one per core.")] = -1,
    backend: Annotated[str, typer.Option("--backend", help="joblib backend: loky, threading, ray, dask.")] = "loky",
    device: Annotated[
        str,
        typer.Option(
            "--device",
            help="auto, cpu, cuda or cuda:0; the ensemble gives the same to rounding, others draw other noise.",
        ),
    ] = "cpu",
    memory: Annotated[
        float | None, typer.Option("--memory", help="MiB that a portion of a batch may take; by default what is fast.")
    ] = None,
    sequential: Annotated[
        bool, typer.Option("--sequential", help="Add models in batches and stop as soon as a claim is refuted.")
    ] = False,
    power: Annotated[
        float | None,
        typer.Option(
            "--power",
            help="With --sequential, stop too where an ideal attack would have refuted half the noise so likely: 0.9.",
        ),
    ] = None,
    as_json: Json = False,
) -> int:
    """Plant canaries, train over the epsilons, attack, bound, judge; write the report.

    Stopped or failed? Run it again: what is done is not redone.
    """
    # Only what trains pays for importing torch.
    from audit.config import load
    from audit.early_stop import sweep_until_clear
    from audit.gate import choose_policy, exit_code
    from audit.report.publish import publish
    from audit.runs import load_result
    from audit.sweeping import sweep as run_sweep
    from audit.training.speed import Speed

    if power is not None and not sequential:
        raise InputError("--power goes with --sequential.")
    experiment = load(config, overrides or ())
    folder = out or Path("runs") / (f"{experiment.name}-sequential" if sequential else experiment.name)
    console = Console(stderr=True)
    told: list[str] = []
    try:
        with ConsoleProgress(console) as progress:
            if sequential:
                policy, _ = choose_policy(None, experiment.gate)
                sweep_until_clear(
                    experiment, folder, jobs, backend, progress, Speed(device, memory),
                    announce=told.append, enough=power, policy=policy,
                )  # fmt: skip
            else:
                run_sweep(experiment, folder, jobs, backend, progress, Speed(device, memory))
    except KeyboardInterrupt:
        console.print(f"Stopped. What is done stays in {folder}; the same command goes on from there.")
        raise
    for line in told:
        console.print(line, highlight=False)
    result = load_result(folder)
    report = publish(result, RunDirectory(folder))
    _show(result, as_json, {"run": str(folder), "report": str(report)})
    return exit_code(result)


@app.command()
def report(
    run: Annotated[Path, typer.Argument(help="A run directory.", metavar="RUN")],
    as_json: Json = False,
) -> int:
    """Analyse a run again and write its report, plots, summary.json, bounds.csv and rates.csv."""
    from audit.gate import exit_code
    from audit.report.publish import publish
    from audit.runs import load_result

    result = load_result(run)
    path = publish(result, RunDirectory(run))
    _show(result, as_json, {"run": str(run), "report": str(path)})
    return exit_code(result)


@app.command()
def gate(
    run: Annotated[Path, typer.Argument(help="A run directory.", metavar="RUN")],
    policy: Annotated[
        Path | None,
        typer.Option(
            "--policy", help="TOML; by default the experiment's [gate] over pyproject.toml's [tool.firedamp.gate]."
        ),
    ] = None,
    as_json: Json = False,
) -> int:
    """Hold a run against a policy, for CI: refuted claims, budgets on bounds and rates, regressions.

    Writes gate.json, gate.junit.xml, gate.sarif and gate.md into RUN.
    """
    from audit.gate import check, choose_policy
    from audit.policy import Policy
    from audit.report.gate_files import gate_document, write_gate_files
    from audit.runs import load_result

    folder = RunDirectory.open(run)
    chosen, source = choose_policy(policy, Policy.model_validate(folder.manifest()["experiment"]["gate"]))
    result = load_result(run, chosen)
    found = check(result, chosen, load_result(Path(chosen.baseline.run)) if chosen.baseline else None)
    write_gate_files(result, found, source, folder)
    if as_json:
        _print_json(gate_document(result, found, source))
    else:
        for finding in found.findings:
            print(f"{finding.severity.upper()} {finding.rule}: {finding.where}: {finding.message}")
        for finding in found.unclear:
            print(f"UNCLEAR {finding.rule}: {finding.where}: {finding.message}")
        if result.failures:
            print(f"{len(result.failures)} units failed; their tracebacks are in {run / 'failures'}.")
        print(f"policy: {source}")
        print(f"{'passed' if found.passed else 'not passed'}: {found.verdict}")
    return found.exit_code


@app.command()
def bound(
    scores: Annotated[Path, typer.Argument(help="CSV or Parquet, columns score and member.", metavar="SCORES")],
    delta: Annotated[float, typer.Option("--delta", help="What the bound is stated at.")],
    epsilon: Annotated[float | None, typer.Option("--epsilon", help="The claim to hold the scores against.")] = None,
    noise_multiplier: Annotated[
        float | None, typer.Option("--noise-multiplier", help="Or claim DP-SGD: its noise, in clipping norms.")
    ] = None,
    sample_rate: Annotated[
        float | None, typer.Option("--sample-rate", help="Of Poisson sampling; 1, full batch, by default.")
    ] = None,
    steps: Annotated[int | None, typer.Option("--steps", help="Of the claimed DP-SGD.")] = None,
    confidence: Annotated[float, typer.Option("--confidence", help="Of each bound by itself.")] = 0.95,
    estimator: Annotated[str | None, typer.Option("--estimator", help="By default what fits the scores.")] = None,
    fields: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="A field of the estimator: prior=0.001.")
    ] = None,
    manifest: Annotated[
        Path | None, typer.Option("--manifest", help="What `plant` wrote; joins coins to scores by canary id.")
    ] = None,
    calibrate: Annotated[
        str | None,
        typer.Option("--calibrate", help="lira, rmia, ...: half of the models (by the seed), held against the others."),
    ] = None,
    seed: Seed = 0,
    as_json: Json = False,
) -> int:
    """A lower bound on epsilon from scores made anywhere, by any tool.

    One row per score: `score` (higher = more likely a member), `member` (0/1 or true/false) and, where there are
    several, `model` and `canary`. docs/bounds.md has the columns that only some audits need.
    """
    from audit.calibration import calibrated_by
    from audit.score_audit import audit_scores, named_estimator, stated_claim
    from audit.score_files import read_scores
    from audit.settings import parse_settings

    chosen = named_estimator(estimator, parse_settings(fields or ()), sample_rate, steps)
    claim = stated_claim(delta, epsilon, noise_multiplier, sample_rate, steps)
    measured = read_scores(scores, manifest)
    if calibrate is not None:
        measured = calibrated_by(calibrate, measured, seed)
    found = audit_scores(measured, delta, confidence, chosen, claim, seed)
    if as_json:
        _print_json(found.document())
    else:
        print(found.text())
    return 0 if found.verdict is None else exit_codes.BY_OUTCOME[found.verdict.outcome]


UNWRAPPED = 200
"""Columns of a table that goes into a file or a pipe."""


@app.command()
def plan(
    epsilon: Annotated[float, typer.Option("--epsilon", help="The claim.")],
    delta: Annotated[float, typer.Option("--delta", help="Of the claim.")],
    models: Annotated[int | None, typer.Option("--models", help="Models, half of them with the canary.")] = None,
    canaries: Annotated[int | None, typer.Option("--canaries", help="Canaries in one model, a coin each.")] = None,
    secrets: Annotated[
        int | None, typer.Option("--secrets", min=1, help="Secrets or targets in each of the models, half of them in.")
    ] = None,
    bits: Annotated[float | None, typer.Option("--bits", help="log2 of the values that a secret may have.")] = None,
    prior: Annotated[
        float | None, typer.Option("--prior", help="How likely a target is rebuilt without the model.")
    ] = None,
    repetitions: Annotated[int, typer.Option("--repetitions", min=1, help="Records that hold a secret.")] = 1,
    shared: Annotated[bool, typer.Option("--shared", help="All models hold the same secrets.")] = False,
    share: Annotated[list[float] | None, typer.Option("--share", help="Of the claim, to be shown.")] = None,
    confidence: Annotated[float, typer.Option("--confidence", help="Of all bounds of the run together.")] = 0.95,
    bounds: Annotated[
        int, typer.Option("--bounds", min=1, help="Bounds and tests of claims in the run, which share the error.")
    ] = 1,
    estimator: Annotated[list[str] | None, typer.Option("--estimator", help="By default all that fit.")] = None,
    run: Annotated[Path | None, typer.Option("--run", help="A run directory to take the training speed from.")] = None,
    seconds: Annotated[float | None, typer.Option("--seconds-per-model", min=0, help="The training speed.")] = None,
    as_json: Json = False,
) -> int:
    """What an audit could show at most, with a perfect attack; and how much it would take to show more.

    For secrets: --models M --secrets N --bits B, for reconstruction --models M --secrets N --prior K.
    """
    from audit.combine import simultaneous_confidence
    from audit.power import SHARES, plan_power, plan_secrets, run_directory_seconds
    from audit.report.power import power_table

    if (models is None) == (canaries is None):
        raise InputError("Expected one of --models and --canaries.")
    if secrets is None and not (bits is None and prior is None and repetitions == 1 and not shared):
        raise InputError("--bits, --prior, --repetitions and --shared go with --secrets.")
    if secrets is not None and models is None:
        raise InputError("--secrets goes with --models.")
    confidence = simultaneous_confidence(confidence, bounds)
    speed = run_directory_seconds(run, seconds)
    shares, names = tuple(share or SHARES), tuple(estimator) if estimator else None
    each = ""
    if models is not None and secrets is not None:
        found = plan_secrets(
            epsilon,
            delta,
            models,
            secrets,
            bits=bits,
            prior=prior,
            repetitions=repetitions,
            fresh=not shared,
            confidence=confidence,
            shares=shares,
            seconds_per_model=speed,
            names=names,
        )
        each = f", {secrets} secret(s) {'in all of them' if shared else 'in each'}"
    elif models is not None:
        found = plan_power(epsilon, delta, models, "models", confidence, shares, speed, names)
    else:
        assert canaries is not None
        found = plan_power(epsilon, delta, canaries, "canaries", confidence, shares, speed, names)
    if as_json:
        _print_json([asdict(power) for power in found])
    else:
        console = Console()
        Console(width=console.width if console.is_terminal else UNWRAPPED).print(
            power_table(found, epsilon, "canaries" if models is None else "models", models or canaries or 0, each)
        )
    return 0


@app.command()
def plant(
    data: Annotated[Path, typer.Argument(help="CSV, JSONL, plain text or .npz.", metavar="DATA")],
    design: Annotated[str, typer.Option("--design", help="A canary design; see `firedamp list`.")],
    count: Annotated[int, typer.Option("--count", min=1, help="Canaries that a coin may insert.")],
    out: Annotated[Path, typer.Option("--out", help="A new directory.")],
    label: Annotated[
        str | None, typer.Option("--label", help="Label column or key, where it is not called so.")
    ] = None,
    field: Annotated[
        str | None, typer.Option("--field", help="Column or key of the text, or the array of features in .npz.")
    ] = None,
    references: Annotated[int, typer.Option("--references", min=0, help="Canaries that are never inserted.")] = 0,
    fields: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="A field of the design: digits=8.")
    ] = None,
    seed: Annotated[
        int | None, typer.Option("--seed", min=0, help="By default drawn afresh: who knows it, knows the coins.")
    ] = None,
    as_json: Json = False,
) -> int:
    """Plant canaries in a training set that is trained on elsewhere, and write the manifest of what was planted.

    Train on OUT/train as always, score every canary of OUT/canaries by its id, then
    `firedamp bound SCORES --manifest OUT/manifest.json --delta D`.
    """
    from audit.plant import plant as plant_canaries
    from audit.registry import DESIGNS, build
    from audit.settings import parse_settings

    built = build(DESIGNS, {"name": design, **parse_settings(fields or ())})
    chosen = secrets.randbits(63) if seed is None else seed
    planted = plant_canaries(data, built, count, out, chosen, label=label, field=field, references=references)
    document = {
        "training_set": str(out / "train" / data.name),
        "manifest": str(out / "manifest.json"),
        "canaries": len(planted.ids),
        "inserted": int((planted.member & ~planted.reference).sum()),
        "digests": planted.digests,
    }
    if as_json:
        _print_json(document)
    else:
        print(f"training set: {document['training_set']} ({document['inserted']} of {count} canaries inserted)")
        print(f"manifest: {document['manifest']}")
        print("Keep the manifest away from whoever trains: it holds the coins.")
    return 0


@app.command(name="init-ci")
def init_ci(
    experiment: Annotated[Path, typer.Argument(help="The experiment that CI runs, a TOML file.", metavar="CONFIG")],
    provider: Annotated[str, typer.Option("--provider", help="github, gitlab or both.")] = "both",
    out: Annotated[Path, typer.Option("--out", help="The repository's root.")] = Path(),
    source: Annotated[
        str | None,
        typer.Option("--source", help="What pip installs Firedamp from: a requirement, URL or path; '' for none."),
    ] = None,
    sequential: Annotated[
        bool, typer.Option(help="Whether the job stops as soon as a claim is refuted, as sweep --sequential does.")
    ] = True,
    as_json: Json = False,
) -> int:
    """Write workflow files that sweep, gate and publish on GitHub Actions and GitLab; trained models are cached."""
    from audit.ci_files import write_ci_files

    written = [str(path) for path in write_ci_files(experiment, provider, out, source, sequential)]
    if as_json:
        _print_json({"written": written})
    else:
        print("\n".join(written))
    return 0


@app.command(name="list")
def list_plugins(as_json: Json = False) -> int:
    """Canary designs, attacks, estimators, trainers, models and data sets, with one line each."""
    from audit.registry import KINDS, available, summary

    found = {kind.label: {name: summary(cls) for name, cls in available(kind).items()} for kind in KINDS}
    if as_json:
        _print_json(found)
        return 0
    console = Console()
    for label, plugins in found.items():
        console.print(f"[bold]{label}s[/bold]")
        for name, line in plugins.items():
            console.print(f"  [cyan]{name:<22}[/cyan] {line}", highlight=False, soft_wrap=True)
    return 0


def _version(wanted: bool) -> None:
    if wanted:
        version = importlib.metadata.version("firedamp")
        print(json.dumps({"version": version}) if "--json" in sys.argv else f"firedamp {version}")
        raise typer.Exit


@app.callback()
def common(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and stop.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", hidden=True)] = False,
) -> None:
    """Options of the program itself."""


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit. Mistakes in the input become one sentence and exit code 2.

    Modules in the working directory can be named as plug-ins; they shadow nothing that is installed.
    """
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments[:1] == ["--json"] and "--version" not in arguments:
        arguments.append(arguments.pop(0))  # Each command has the option itself.
    try:
        code = app(args=arguments, prog_name="firedamp", standalone_mode=False)
    except TyperException as error:
        code = _fail(error.format_message() or "see firedamp --help.", "--json" in arguments)
    except InputError as error:
        code = _fail(str(error), "--json" in arguments)
    except OSError as error:
        code = _fail(f"Cannot read or write: {error}.", "--json" in arguments)
    except (KeyboardInterrupt, typer.Abort):
        code = _fail("Interrupted.", "--json" in arguments, exit_codes.INTERRUPTED)
    except Exception as error:
        traceback.print_exc()
        code = _fail(f"{type(error).__name__}: {error}", "--json" in arguments, exit_codes.CRASHED)
    sys.exit(code if isinstance(code, int) else 0)


def _fail(sentence: str, as_json: bool, code: int = exit_codes.BAD_INPUT) -> int:
    if as_json:
        _print_json({"error": sentence, "exit_code": code})
    print(f"firedamp: {sentence}", file=sys.stderr)
    return code


def _show(result: Any, as_json: bool, where: dict[str, str]) -> None:
    from audit.report import print_report, summary_json

    if as_json:
        _print_json(where | summary_json(result))
        return
    print_report(result, Console())
    print(f"report: {where['report']}")


def _print_json(document: Any) -> None:
    print(json.dumps(jsonable(document), indent=1, allow_nan=False))
