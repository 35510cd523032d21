# SPDX-License-Identifier: Apache-2.0
"""What the pages say, computed from results.json: headings, sentences, tables, plots. page.py makes Markdown and HTML of it."""

from __future__ import annotations

from charts import Series, heat_maps, plot
from texts import DOMAINS

EVERY = (*DOMAINS, "all")
LOAD_NAMES = {
    "throughput": "Throughput: all domains in turns", "chat": "Chat: short turns of dialogue",
    "line": "Coding agent: one line", "body": "Coding agent: a body of several functions"}
# A row has the same colour in all plots.
COLOURS = {"static": 0, "static-4": 5, "static-2": 6, "parity": 1, "balanced": 2, "fast": 3, "static-twin": 4,
           "short-context": 6}


BUSY = 0.15  # cores kept by other work, above which speeds are said to be less sure


def signed(value: float | None, digits: int = 2) -> str:
    return "-" if value is None else f"{value:+.{digits}f}".replace("-", "−")


def span(interval: list, digits: int = 2, plus: bool = False) -> str:
    low, high = ("∞" if v is None else signed(v, digits) if plus else f"{v:.{digits}f}".replace("-", "−") for v in interval)
    return f"{low} to {high}"


def change(part: dict | None, digits: int = 2) -> str:
    return "-" if part is None else f"{signed(part['value'], digits)} % ({span(part['interval'], digits, True)})"


def times(ratio: list[float]) -> str:
    return f"{ratio[0]:.2f} ({ratio[1]:.2f} to {ratio[2]:.2f})"


class Report:
    def __init__(self, results: dict, machines: list[dict] | None = None):
        """machines: the times of the same file elsewhere (measure.py --speed)."""
        self.r = results
        self.machines = [entry for entry in machines or [] if entry["model"]["sha256"] == results["model"]["sha256"]]
        self.blocks: list[tuple] = []
        self.rows = [row for row in results["rows"] if "quality" in row or row.get("missing")]
        self.here = [row for row in self.rows if not row.get("missing")]
        self.scored = [row for row in self.rows if "quality" in row]
        self.gates = [row for row in self.here if row["routing"].startswith("profile@")]
        self.static = self.here[0]
        self.gate = next((row for row in self.gates if row.get("default")), self.gates[0])
        self.labels = {row["name"]: self.label(row) for row in self.rows}

    def label(self, row: dict) -> str:
        mark = " (default)" if row.get("default") else ""
        return row["label"] + mark + (" *" if row.get("carried") else "")

    def heading(self, text: str) -> None:
        self.blocks.append(("heading", text))

    def text(self, text: str) -> None:
        self.blocks.append(("text", text))

    def code(self, text: str) -> None:
        self.blocks.append(("code", text))

    def table(self, header: list[str], lines: list[list[str]]) -> None:
        self.blocks.append(("table", header, lines))

    def plot(self, name: str, caption: str, chart: str) -> None:
        self.blocks.append(("plot", name, caption, chart))

    def build(self) -> list[tuple]:
        for part in (self.opening, self.goals, self.overview, self.quality, self.speed, self.elsewhere, self.experts,
                     self.long_form, self.cost, self.specialisation, self.mixture, self.commands):
            part()
        return self.blocks

    def opening(self) -> None:
        model, machine = self.r["model"], self.r["machine"]
        self.text(
            f"{'The embedded model' if model['file'] == 'embedded' else model['file']} (SHA-256 {model['sha256'][:16]}…, "
            f"{model['bytes'] / 2**20:.1f} MiB, {model['parameters'] / 1e6:.1f} million parameters, {model['layers']} layers "
            f"of {model['experts']} experts, up to {model['experts_per_token']} a token), measured on {self.r['date']} by "
            f"`make results` on {machine['threads']} threads of {machine['cpu']}, all figures by the engine's own command "
            "line. Text: held-out documents of four domains, none of which the model was trained on. Intervals are 95 %, by "
            "resampling windows; in brackets after a ratio of times are its quartiles over rounds. Percentages and ratios are "
            f"against static k = {model['experts_per_token']} of this file.")
        if self.r["quick"]:
            self.text("**A quick run: sizes are too small for conclusions.**")
        if machine["other_work_cores"] > BUSY:
            self.text(f"**Other work kept {machine['other_work_cores']:.1f} cores busy while speed was measured: speeds are "
                      "lower than on an idle machine, and ratios less sure.**")
        self.text("The static twin has the same architecture and read the same text in the same steps, always with k = "
                  f"{model['experts_per_token']}; a dense twin has one feed-forward network of the size of all experts, or of "
                  "the active ones.")
        missing = [row for row in self.rows if row.get("missing")]
        if missing:
            self.text("Models to compare with that were not measured in this run:")
            self.table(["", "", "bits per byte below"], [
                [self.labels[row["name"]], row["missing"], f"of {row['carried']}" if row.get("carried") else "none"]
                for row in missing])

    def goals(self) -> None:
        self.heading("Goals")
        judged = self.r["goals"]
        met = [name for name in judged if all(goal["met"] is not False for goal in judged[name])]
        missed = [goal["goal"] for goal in judged[self.gate["name"]] if goal["met"] is False]
        sentence = f"The model ships with `{self.gate['name']}` as its default. "
        if not missed:
            sentence += "It meets every goal that was judged."
        else:
            sentence += f"It misses {len(missed)} of {len(judged[self.gate['name']])} goals: {'; '.join(missed)}."
            sentence += f" `{met[0]}` meets all of them." if met else " No operating point meets all of them at once."
        self.text(sentence.replace(" -", " −"))
        lines = []
        for index, goal in enumerate(judged[self.gate["name"]]):
            cells = [part["verdict"] if part["met"] is None else
                     f"{'**met**' if part['met'] else part['verdict']}: {part['found']}"
                     for part in (judged[name][index] for name in judged)]
            lines.append([cell.replace(" -", " −") for cell in (goal["goal"], *cells)])
        self.table(["goal"] + [self.labels[name] for name in judged], lines)

    def overview(self) -> None:
        self.heading("All in one table")
        lines, speeds = [], self.r["loads"]["throughput"]["rows"]
        for row in self.scored:
            speed, cost = speeds.get(row["name"]), self.r["costs"].get(row["name"])
            lines.append([
                self.labels[row["name"]], f"{row['experts']['all']['mean']:.2f}" if "experts" in row else "-",
                f"{row['quality']['all']['value']:.4f}",
                "-" if row is self.static else change(row["quality"]["all"].get("difference"))])
            for phase in ("decode", "prefill"):
                lines[-1] += [f"{speed[phase]['tokens_per_second']:,.0f}" if speed else "-",
                              times(speed[phase]["time_ratio"]) if speed else "-"]
            lines[-1].append(f"{cost['per_million_tokens']:.4f}" if cost else "-")
        load = self.r["loads"]["throughput"]
        self.table(["", "mean k", "bits per byte", "difference", "decode, tokens/s", "of static's time", "prompt, tokens/s",
                    "of static's time", "US$ per million tokens"], lines)
        self.text(f"Decoding after {load['prompt']} tokens of prompt, {load['generate']} tokens; the price is "
                  f"{self.r['price']:g} US$ for a core for an hour.")
        groups: dict[str, list] = {"static": [], "the gate": [], "other models": []}
        for row in self.here:
            part = row["quality"]["all"]["difference"]
            point = (speeds[row["name"]]["decode"]["time_ratio"][0], part["value"], *part["interval"])
            kind = "other models" if row["twin"] else "the gate" if row in self.gates else "static"
            groups[kind].append((point, row["name"] if row["twin"] else row["label"].replace("gate, ", "")))
        self.plot("quality-and-time", "Left is faster, down is better. The dashed line is the goal's limit.", plot(
            "Quality lost against decode time", [
                Series(name, [p for p, _ in part], number, name != "other models", [label for _, label in part],
                       below=name != "static")
                for number, (name, part) in enumerate(groups.items()) if part],
            f"decode time; static k = {self.r['model']['experts_per_token']} is 1", "bits per byte, change in %",
            goal=1.0, zero=True))

    def quality(self) -> None:
        self.heading("Bits per byte by domain")
        first = self.static["quality"]
        self.text(f"Windows of {self.r['window']} tokens, from documents all over the held-out text; every token after a "
                  "window's first is scored: " + ", ".join(f"{first[d]['tokens']:,} tokens of {d}" for d in DOMAINS) + ".")
        self.table(["", *DOMAINS], [
            [self.labels[row["name"]]] + [f"{row['quality'][d]['value']:.4f} ({span(row['quality'][d]['interval'], 3)})"
                                          for d in DOMAINS] for row in self.scored])
        others = [row for row in self.scored if row is not self.static and "difference" in row["quality"]["all"]]
        self.text("The difference to static routing of the measured file, paired by window:")
        self.table(["", *EVERY], [self.changes(row, row["quality"], "difference") for row in others])
        twin = [row for row in self.scored
                if "difference_to_twin" in row["quality"]["all"] and row["name"] != "static-twin"]
        if twin:
            self.text("The difference to the static twin:")
            self.table(["", *EVERY], [self.changes(row, row["quality"], "difference_to_twin") for row in twin])
        self.plot("difference-by-domain", "95 % intervals. The dashed line is the goal's limit.", plot(
            "Change of bits per byte against static routing", [
                self.series(row["name"], [row["quality"][d]["difference"] for d in EVERY], joined=False)
                for row in others if not row["twin"]],
            "domain", "%", categories=list(EVERY), goal=1.0, zero=True))

    def changes(self, row: dict, by_domain: dict, key: str) -> list[str]:
        return [self.labels[row["name"]]] + [change(by_domain[d][key]) for d in EVERY]

    def series(self, name: str, parts: list, joined: bool = True) -> Series:
        """Of values by category: numbers, or values with their interval."""
        points = [(i, p["value"], *p["interval"]) if isinstance(p, dict) else (i, p, None, None) for i, p in enumerate(parts)]
        return Series(self.labels[name], points, COLOURS.get(name, 5), joined)

    def speed(self) -> None:
        self.heading("Speed and latency by load")
        self.text("Real text: another piece in every round, all policies in turns within it. First token: the prompt and one "
                  "step; whole: the prompt and all steps. The twins are other files, so they take turns by process.")
        for load, part in self.r["loads"].items():
            self.text(f"**{LOAD_NAMES[load]}**, {part['prompt']} tokens of prompt, {part['generate']} of answer:")
            self.table(["", "k, prompt", "k, decoding", "first token, ms", "of static's", "whole, ms", "of static's",
                        "decode, tokens/s", "of static's time"], [
                [self.labels[name], *(f"{row[p]['mean_k']:.2f}" if row[p]["mean_k"] else "-" for p in ("prefill", "decode")),
                 f"{row['first_token_ms']:.2f}", times(row["first_token_ratio"]), f"{row['whole_ms']:.1f}",
                 times(row["whole_ratio"]), f"{row['decode']['tokens_per_second']:,.0f}", times(row["decode"]["time_ratio"])]
                for name, row in part["rows"].items()])

    def elsewhere(self) -> None:
        if not self.machines:
            return
        self.heading("Decoding on other machines")
        self.text("The same file, texts and turns (`make results SPEED=1`): a step's time against static routing's.")
        lines = []
        for entry in self.machines:
            on = entry["machine"]
            busy = f", {on['other_work_cores']:.1f} cores busy with other work" if on["other_work_cores"] > BUSY else ""
            name = f"{on['cpu']} ({on['isa']}), {on['threads']} threads, {entry['date']}{busy}"
            for load, part in entry["loads"].items():
                cells = [f"{part['rows']['static']['decode']['tokens_per_second']:,.0f}"]
                cells += [times(row["decode"]["time_ratio"]) for key, row in part["rows"].items() if key != "static"]
                lines.append([name, LOAD_NAMES[load], *cells])
        labels = [self.label(row) for row in self.machines[0]["rows"]]
        self.table(["machine", "load", f"{labels[0]}, tokens/s", *labels[1:]], lines)

    def experts(self) -> None:
        self.heading("Experts per token")
        layers = [f"layer {layer}" for layer in range(self.r["model"]["layers"])]
        self.table(["", "", "all layers", *layers], [
            [self.labels[row["name"]], d] + [f"{k:.2f}" for k in (row["experts"][d]["mean"], *row["experts"][d]["layers"])]
            for row in self.gates for d in ("all", *DOMAINS)])
        self.text("Shares of tokens, in percent over all layers, by their number of experts:")
        self.table(["", *(f"k = {k + 1}" for k in range(self.r["model"]["experts_per_token"]))], [
            [self.labels[row["name"]]] + [f"{share * 100:.1f}" for share in row["experts"]["all"]["shares"]]
            for row in self.gates])
        few = max(1, self.r["model"]["experts_per_token"] // 4)
        self.fifths("fifths", "easiest", "hardest", "Experts by difficulty of the token", "loss",
                    "**Easy and hard tokens.** Fifths of the tokens by their loss under static routing, and the mean k of the "
                    "token before, which predicts them.")
        if "fifths_by_effect" in self.gate:
            self.fifths("fifths_by_effect", "least", "most", "Experts by what they change", "change of loss",
                        "**Where experts matter.** A token may be hard to predict with any number of experts. So here are "
                        f"fifths by how much the loss changes, either way, between static k = {few} and "
                        f"k = {self.r['model']['experts_per_token']}.")

    def fifths(self, key: str, first: str, last: str, title: str, unit: str, text: str) -> None:
        names = [first, "second", "middle", "fourth", last]
        self.text(text + f" The fifths' mean {unit} in nats: " + ", ".join(f"{v:.2f}" for v in self.gate[key + "_nats"]) + ".")
        self.table(["", "", *names], [[self.labels[row["name"]], d] + [f"{k:.2f}" for k in row[key][d]]
                                      for row in self.gates for d in ("all", *DOMAINS)])
        self.plot("k-by-" + ("loss" if key == "fifths" else "effect"), "All domains.", plot(
            title, [self.series(row["name"], row[key]["all"]) for row in self.gates], f"fifth of the tokens by {unit}",
            "mean k", categories=names))

    def long_form(self) -> None:
        self.heading("Long texts")
        long = self.r["long"]
        edges = [f"{low if low > 1 else 0}-{high}" for low, high in long["bins"]]
        self.labels["short-context"] = "static, 512 to 1,023 tokens of context"
        self.text(f"Bits per byte by position in texts of {long['context']:,} tokens ("
                  + ", ".join(f"{count} of {domain}" for domain, count in long["texts"].items())
                  + "), each of as few held-out documents as fill it. Columns are not equally hard, so compare within them. "
                  "The last row reads the same tokens with a short context: what it loses is what the long one is worth, and "
                  "where it gains, the model is worse for reading so far back.")
        self.table(["", *edges], [[self.labels[name]] + [f"{v['value']:.4f}" for v in row["bits_per_byte"]]
                                  for name, row in long["rows"].items()])
        self.text("Against static routing with all of its context, texts resampled:")
        self.table(["", *edges], [[self.labels[name]] + [change(v) for v in row["difference"]]
                                  for name, row in long["rows"].items() if name != "static"])
        self.plot("loss-by-position", "The same texts for all.", plot(
            "Loss by position", [self.series(name, [v["value"] for v in row["bits_per_byte"]])
                                 for name, row in long["rows"].items()],
            "position in the text", "bits per byte", categories=edges))
        found = self.r["retrieval"]
        self.text("**Facts stated early.** “The code word is …” (an invented name) or “The number of the room is "
                  f"…”, then held-out prose, then the sentence again up to its last word; {found['trials']} trials at each "
                  "distance, greedy. Right: the answer is the one stated. Saved: by how many nats the statement makes the "
                  "answer's tokens likelier.")
        self.table(["", *(f"{d:,} tokens" for d in found["distances"])], [
            line for name, row in found["rows"].items() for line in (
                [f"{self.labels[name]}: right", *(f"{part['right']} of {found['trials']}" for part in row)],
                [f"{self.labels[name]}: nats saved",
                 *(f"{signed(part['nats_saved'])} ({span(part['nats_saved_interval'], 2, True)})" for part in row)])])
        self.plot("retrieval", "95 % intervals over trials. At 0 the statement is forgotten.", plot(
            "What an early statement is worth", [
                self.series(name, [{"value": p["nats_saved"], "interval": p["nats_saved_interval"]} for p in row], joined=False)
                for name, row in found["rows"].items()],
            "tokens between statement and question", "nats saved on the answer", zero=True,
            categories=[f"{d:,}" for d in found["distances"]]))

    def cost(self) -> None:
        self.heading("Cost")
        tasks, price = self.r["tasks"], self.r["price"]
        self.text(f"At {price:g} US$ for a core for an hour. Useful output: {tasks['problems']} held-out synthetic problems "
                  "with worked steps, solved greedily; a problem is passed when its final answer is exactly right. Its "
                  "price is the core-seconds of prompt and solution, of failed problems too.")
        lines = []
        for name, row in tasks["rows"].items():
            per, cost, chat = row["core_seconds_per_pass"], self.r["costs"][name], self.r["loads"]["chat"]["rows"][name]
            low, high = (f"{end * 100:.0f}" for end in row["interval"])
            lines.append([
                self.labels[name], f"{cost['per_million_tokens']:.4f}", f"{cost['ratio']:.2f}",
                f"{chat['whole_ms'] * self.r['machine']['threads'] * price / 3.6:.3f}",
                f"{row['passed']} ({row['share'] * 100:.0f} %, {low} to {high})",
                f"{per['value']:.3f} ({span(per['interval'], 3)})" if per else "none passed",
                f"{per['value'] * price / 3.6e3 * 1e6:.2f}" if per else "-"])
        self.table(["", "US$ per million tokens, decoding", "of static's", "US$ per million chat turns", "problems passed",
                    "core-seconds per pass", "US$ per million passes"], lines)

    def specialisation(self) -> None:
        self.heading("Experts and domains")
        found = self.r["specialisation"]
        one = found[self.gate["name"]]
        self.text(f"Mutual information of expert and domain in bits, {one['tokens']:,} tokens in {one['pieces']} pieces of "
                  "text. By chance: the mean when pieces are dealt to domains at random, 1,000 times; p: the share of those "
                  "that reach it.")
        self.table(["", *(f"layer {layer}" for layer in range(len(one["layers"])))], [
            [self.labels[name]] + [f"{p['bits']:.3f} (by chance {p['chance_bits']:.3f}, p = {p['p']:.3f})"
                                   for p in part["layers"]] for name, part in found.items()])
        self.plot("experts-by-domain", f"Under `{self.gate['routing']}`; a column is an expert.", heat_maps(
            f"Which experts serve which domain: {self.gate['label']}", one["domains"],
            [(f"layer {i}", layer["use"]) for i, layer in enumerate(one["layers"])], "1: as often as all experts on average"))

    def mixture(self) -> None:
        self.heading("Text that mixes domains")
        mixed = self.r["mixture"]
        self.text(f"{mixed['mixtures']} texts in which pieces of a few lines of the four domains take turns, {mixed['pieces']} "
                  "pieces each, and the same pieces with each domain on its own. Apart, pieces follow each other as in their "
                  "document, so they are easier.")
        self.table(["", "", *EVERY], [
            [self.labels[name], kind] + [f"{row[kind][d]['value']:.3f}, k {row[kind][d]['mean_k']:.2f}" for d in EVERY]
            for name, row in mixed["rows"].items() for kind in ("mixed", "apart")])
        self.text("Inside the mixture, against static routing, texts resampled:")
        self.table(["", *EVERY], [[self.labels[name]] + [change(row["difference"][d]) for d in EVERY]
                                  for name, row in mixed["rows"].items() if name != "static"])

    def commands(self) -> None:
        self.heading("How it was measured")
        policies = " ".join(f"--routing {row['routing']}" for row in self.here if not row["twin"])
        own = "" if self.r["model"]["file"] == "embedded" else f" --model {self.r['model']['file']}"
        gate = f"--routing {self.gate['routing']} --json"
        self.code("\n".join([
            "make results            # all of it; Tools/results/measure.py has the details", "",
            f"moe-infer perplexity{own} --text DOMAIN.txt --context {self.r['window']} --score-from 1 --per-token tokens.jsonl "
            f"{gate}",
            *(f"moe-infer bench{own} --text {p['text']}.txt --prompt {p['prompt']} --generate {p['generate']} "
              f"--repetitions {self.r['sizes']['rounds']} {policies} --json" for p in self.r["loads"].values()),
            f"moe-infer generate{own} --file problem.txt --max-tokens 160 --temperature 0 --stop $'\\n\\n' {gate}",
            f"moe-infer route{own} --text prose-0=a.txt --text code-0=b.txt … {gate}"]))
        self.text("Seconds: " + ", ".join(f"{name} {seconds:.0f}" for name, seconds in self.r["phases"].items())
                  + f". Engine {self.r['engine']}. Every figure is in `results.json`.")
