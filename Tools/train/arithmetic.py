# SPDX-License-Identifier: Apache-2.0
"""Synthetic mathematics: problems with worked steps and a checked answer. The same seed gives the same text everywhere."""

from __future__ import annotations

import math
from fractions import Fraction
from random import Random

NAMES = ("Anna Ben Clara David Emma Farid Grace Hana Ivan Julia Karim Lena Maria Noah Olga Paul Rosa Sam Tara Victor Wendy "
         "Yusuf Zoe Amir Beth Carlos Dina Eric Fiona George").split()
THINGS = ("apples books pencils marbles stickers cards coins shells buttons stamps tickets cookies oranges flowers eggs bottles "
          "bricks candles ribbons stones").split()
PLACES = "shop market library school garden farm bakery museum station office".split()


def column_addition(r: Random) -> tuple[str, list[str], str]:
    digits = r.randint(2, 5)
    a, b = r.randrange(10 ** (digits - 1), 10 ** digits), r.randrange(10 ** (digits - 1), 10 ** digits)
    steps, carry = [], 0
    for place in range(digits):
        x, y = a // 10 ** place % 10, b // 10 ** place % 10
        total = x + y + carry
        plus = f" + {carry}" if carry else ""
        steps.append(f"{x} + {y}{plus} = {total}, write {total % 10}" + (f", carry {total // 10}" if total > 9 else ""))
        carry = total // 10
    if carry:
        steps.append(f"write the carry {carry}")
    return f"What is {a} + {b}?", steps, str(a + b)


def column_subtraction(r: Random) -> tuple[str, list[str], str]:
    digits = r.randint(2, 4)
    b, a = sorted(r.randrange(10 ** (digits - 1), 10 ** digits) for _ in range(2))
    steps, borrow = [], 0
    for place in range(digits):
        x, y = a // 10 ** place % 10 - borrow, b // 10 ** place % 10
        if x < y:
            steps.append(f"{x} is less than {y}: borrow, {x + 10} - {y} = {x + 10 - y}")
            borrow = 1
        else:
            steps.append(f"{x} - {y} = {x - y}")
            borrow = 0
    return f"What is {a} - {b}?", steps, str(a - b)


def multiplication(r: Random) -> tuple[str, list[str], str]:
    a, b = r.randint(12, 999), r.randint(3, 99)
    parts = [(int(d) * 10 ** p) for p, d in enumerate(reversed(str(b))) if d != "0"]
    steps = [f"{a} * {p} = {a * p}" for p in parts]
    if len(parts) > 1:
        steps.append(" + ".join(str(a * p) for p in parts) + f" = {a * b}")
    return f"What is {a} * {b}?", steps, str(a * b)


def long_division(r: Random) -> tuple[str, list[str], str]:
    b, a = r.randint(2, 12), r.randint(50, 9999)
    steps, rest, quotient = [], 0, ""
    for digit in str(a):
        rest = rest * 10 + int(digit)
        q = rest // b
        if q or quotient:
            steps.append(f"{rest} / {b} = {q}, remainder {rest - q * b}")
            quotient += str(q)
        rest -= q * b
    answer = str(a // b) + (f" remainder {a % b}" if a % b else "")
    return f"Divide {a} by {b}.", steps, answer


def fractions(r: Random) -> tuple[str, list[str], str]:
    b, d = r.randint(2, 12), r.randint(2, 12)
    a, c = r.randint(1, b - 1), r.randint(1, d - 1)
    common = math.lcm(b, d)
    sign = r.choice("+-")
    x, y = a * common // b, c * common // d
    if sign == "-" and x < y:
        a, b, c, d, x, y = c, d, a, b, y, x
    top = x + y if sign == "+" else x - y
    result = Fraction(top, common)
    steps = [f"the common denominator of {b} and {d} is {common}", f"{a}/{b} = {x}/{common}", f"{c}/{d} = {y}/{common}",
             f"{x}/{common} {sign} {y}/{common} = {top}/{common}"]
    if result.denominator != common:
        steps.append(f"{top}/{common} = {result}")
    return f"Compute {a}/{b} {sign} {c}/{d}.", steps, str(result)


def percentage(r: Random) -> tuple[str, list[str], str]:
    percent, base = r.choice((5, 10, 15, 20, 25, 30, 40, 50, 60, 75, 80)), 20 * r.randint(1, 60)
    part = percent * base // 100
    if r.random() < 0.5:
        return (f"What is {percent}% of {base}?",
                [f"1% of {base} is {base} / 100 = {base / 100:g}", f"{percent} * {base / 100:g} = {part}"], str(part))
    thing = r.choice(("coat", "bicycle", "lamp", "chair", "phone", "book", "table", "radio"))
    return (f"A {thing} costs ${base}. It is sold at {percent}% off. What is the new price?",
            [f"the discount is {percent}% of {base} = {part}", f"{base} - {part} = {base - part}"], f"${base - part}")


def equation(r: Random) -> tuple[str, list[str], str]:
    a, x, b = r.randint(2, 15), r.randint(-12, 30), r.randint(-40, 40)
    c = a * x + b
    letter = r.choice("xyzn")
    if b == 0:
        return f"Solve {a}{letter} = {c}.", [f"divide both sides by {a}: {letter} = {c} / {a} = {x}"], f"{letter} = {x}"
    sign, undo = ("+", "subtract") if b > 0 else ("-", "add")
    return (f"Solve {a}{letter} {sign} {abs(b)} = {c}.",
            [f"{undo} {abs(b)} on both sides: {a}{letter} = {c - b}", f"divide both sides by {a}: {letter} = {x}",
             f"check: {a} * {x} {sign} {abs(b)} = {c}"], f"{letter} = {x}")


def order_of_operations(r: Random) -> tuple[str, list[str], str]:
    a, b, c, d = (r.randint(2, 20) for _ in range(4))
    if r.random() < 0.5:
        return (f"Compute {a} + {b} * {c} - {d}.",
                [f"multiply first: {b} * {c} = {b * c}", f"{a} + {b * c} = {a + b * c}",
                 f"{a + b * c} - {d} = {a + b * c - d}"], str(a + b * c - d))
    return (f"Compute ({a} + {b}) * ({c} + {d}).",
            [f"{a} + {b} = {a + b}", f"{c} + {d} = {c + d}", f"{a + b} * {c + d} = {(a + b) * (c + d)}"],
            str((a + b) * (c + d)))


def sequence(r: Random) -> tuple[str, list[str], str]:
    start, step = r.randint(1, 60), r.randint(2, 15)
    if r.random() < 0.3:
        start, step = r.randint(1, 6), r.randint(2, 4)
        terms = [start * step ** i for i in range(5)]
        return (f"What comes next: {', '.join(map(str, terms[:4]))}, ...?",
                [f"{terms[1]} / {terms[0]} = {step}", "each term is the one before times " + str(step),
                 f"{terms[3]} * {step} = {terms[4]}"], str(terms[4]))
    terms = [start + step * i for i in range(6)]
    return (f"What comes next: {', '.join(map(str, terms[:5]))}, ...?",
            [f"{terms[1]} - {terms[0]} = {step}", f"{terms[2]} - {terms[1]} = {step}",
             f"{terms[4]} + {step} = {terms[5]}"], str(terms[5]))


def divisor(r: Random) -> tuple[str, list[str], str]:
    g = r.randint(2, 24)
    a, b = g * r.randint(2, 30), g * r.randint(2, 30)
    steps, x, y = [], max(a, b), min(a, b)
    while y:
        steps.append(f"{x} = {x // y} * {y} + {x % y}")
        x, y = y, x % y
    return f"Find the greatest common divisor of {a} and {b}.", steps, str(x)


def rectangle(r: Random) -> tuple[str, list[str], str]:
    w, h, unit = r.randint(2, 60), r.randint(2, 60), r.choice(("cm", "m", "feet", "inches"))
    if r.random() < 0.5:
        return (f"A rectangle is {w} {unit} wide and {h} {unit} high. What is its perimeter?",
                [f"{w} + {h} = {w + h}", f"2 * {w + h} = {2 * (w + h)}"], f"{2 * (w + h)} {unit}")
    return (f"A rectangle is {w} {unit} wide and {h} {unit} high. What is its area?", [f"{w} * {h} = {w * h}"],
            f"{w * h} square {unit}")


def story_sum(r: Random) -> tuple[str, list[str], str]:
    name, other = r.sample(NAMES, 2)
    thing, place = r.choice(THINGS), r.choice(PLACES)
    a, b, c = r.randint(10, 90), r.randint(5, 60), r.randint(3, 9)
    kind = r.randrange(5)
    if kind == 0:
        text = f"{name} has {a} {thing}. {other} gives {name} {b} more at the {place}. How many {thing} does {name} have now?"
        return text, [f"{name} starts with {a}", f"{a} + {b} = {a + b}"], str(a + b)
    if kind == 1:
        given = min(b, a - 1)
        text = f"{name} takes {a} {thing} to the {place} and gives {given} of them to {other}. How many are left?"
        return text, [f"{a} - {given} = {a - given}"], str(a - given)
    if kind == 2:
        text = f"{name} buys {c} boxes of {thing} with {b} in each, and already had {a}. How many {thing} is that in all?"
        return text, [f"the boxes hold {c} * {b} = {c * b}", f"{c * b} + {a} = {c * b + a}"], str(c * b + a)
    if kind == 3:
        text = f"{name} and {c - 1} friends share {c * b} {thing} equally. How many does each get?"
        return text, [f"there are {c} people", f"{c * b} / {c} = {b}"], str(b)
    price = r.randint(2, 15)
    paid = (price * c // 10 + 1) * 10
    text = f"At the {place} {name} buys {c} {thing} for ${price} each and pays with ${paid}. How much change is due?"
    return text, [f"{c} * {price} = {c * price}", f"{paid} - {c * price} = {paid - c * price}"], f"${paid - c * price}"


def journey(r: Random) -> tuple[str, list[str], str]:
    speed, hours = r.randint(3, 120), r.randint(2, 9)
    who = r.choice(("train", "car", "bus", "boat", "cyclist", "walker"))
    kind = r.randrange(3)
    if kind == 0:
        return (f"A {who} travels at {speed} km per hour for {hours} hours. How far does it go?",
                ["distance is speed times time", f"{speed} * {hours} = {speed * hours}"], f"{speed * hours} km")
    if kind == 1:
        return (f"A {who} covers {speed * hours} km in {hours} hours. What is its speed?",
                ["speed is distance over time", f"{speed * hours} / {hours} = {speed}"], f"{speed} km per hour")
    return (f"How long does a {who} need for {speed * hours} km at {speed} km per hour?",
            ["time is distance over speed", f"{speed * hours} / {speed} = {hours}"], f"{hours} hours")


def average(r: Random) -> tuple[str, list[str], str]:
    count, mean = r.randint(3, 6), r.randint(5, 60)
    values = [r.randint(1, 2 * mean) for _ in range(count - 1)]
    last = mean * count - sum(values)
    if last < 0:
        values, last = [mean] * (count - 1), mean
    values.append(last)
    return (f"What is the average of {', '.join(map(str, values))}?",
            [f"{' + '.join(map(str, values))} = {mean * count}", f"{mean * count} / {count} = {mean}"], str(mean))


KINDS = (column_addition, column_subtraction, multiplication, long_division, fractions, percentage, equation,
         order_of_operations, sequence, divisor, rectangle, story_sum, story_sum, journey, average)


def layout(problem: str, steps: list[str], answer: str) -> str:
    return "Problem: " + problem + "\nSolution:\n" + "".join(f"- {step}\n" for step in steps) + f"Answer: {answer}\n"


def problems(count: int, seed: int) -> list[tuple[str, str]]:
    """(problem, problem and worked solution), no problem twice."""
    random, seen, result = Random(seed), set(), []
    while len(result) < count:
        problem, steps, answer = random.choice(KINDS)(random)
        if problem not in seen:
            seen.add(problem)
            result.append((problem, layout(problem, steps, answer)))
    return result
