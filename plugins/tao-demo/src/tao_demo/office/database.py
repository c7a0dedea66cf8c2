"""The database of *backoffice*: eight tables of a mid-sized company, made from a seed, with the mess of real ones."""

from __future__ import annotations

import datetime
import sqlite3
from collections.abc import Iterable, Sequence
from contextlib import closing
from pathlib import Path
from random import Random
from typing import Any

SCHEMA = """
CREATE TABLE customers (id INTEGER PRIMARY KEY, name TEXT NOT NULL, city TEXT, country TEXT, segment TEXT, since TEXT);
CREATE TABLE employees (id INTEGER PRIMARY KEY, name TEXT NOT NULL, department TEXT, city TEXT, salary INTEGER,
  hired_on TEXT, manager_id INTEGER REFERENCES employees (id));
CREATE TABLE products (id INTEGER PRIMARY KEY, name TEXT NOT NULL, category TEXT, price REAL, stock INTEGER,
  discontinued INTEGER NOT NULL DEFAULT 0);
CREATE TABLE orders (id INTEGER PRIMARY KEY, customer_id INTEGER NOT NULL REFERENCES customers (id),
  employee_id INTEGER REFERENCES employees (id), ordered_on TEXT NOT NULL, status TEXT NOT NULL, channel TEXT);
CREATE TABLE order_lines (id INTEGER PRIMARY KEY, order_id INTEGER NOT NULL REFERENCES orders (id),
  product_id INTEGER NOT NULL REFERENCES products (id), quantity INTEGER NOT NULL, unit_price REAL NOT NULL);
CREATE TABLE shipments (id INTEGER PRIMARY KEY, order_id INTEGER NOT NULL REFERENCES orders (id), carrier TEXT,
  shipped_on TEXT, delivered_on TEXT, weight REAL);
CREATE TABLE invoices (id INTEGER PRIMARY KEY, order_id INTEGER NOT NULL REFERENCES orders (id),
  issued_on TEXT NOT NULL, amount REAL NOT NULL, paid_on TEXT);
CREATE TABLE tickets (id INTEGER PRIMARY KEY, customer_id INTEGER NOT NULL REFERENCES customers (id),
  product_id INTEGER REFERENCES products (id), opened_on TEXT, priority TEXT, topic TEXT, status TEXT NOT NULL);
CREATE INDEX orders_customer ON orders (customer_id);
CREATE INDEX orders_employee ON orders (employee_id);
CREATE INDEX lines_order ON order_lines (order_id);
CREATE INDEX lines_product ON order_lines (product_id);
CREATE INDEX shipments_order ON shipments (order_id);
CREATE INDEX invoices_order ON invoices (order_id);
CREATE INDEX tickets_customer ON tickets (customer_id);
CREATE INDEX tickets_product ON tickets (product_id);
"""

PLACES = {
    "Germany": ("Berlin", "Hamburg", "Leipzig", "Munich"), "France": ("Paris", "Lyon", "Lille"),
    "Spain": ("Madrid", "Seville", "Bilbao"), "Italy": ("Rome", "Turin", "Bari"), "Norway": ("Oslo", "Bergen"),
    "Poland": ("Warsaw", "Krakow"), "Austria": ("Vienna", "Graz"), "Portugal": ("Lisbon", "Porto"),
}  # fmt: skip
SEGMENTS = ("retail", "wholesale", "public", "education")
DEPARTMENTS = ("Sales", "Support", "Finance", "Logistics", "Marketing")
OFFICES = ("Berlin", "Paris", "Madrid", "Vienna")
STATUSES = ("open", "shipped", "completed", "cancelled", "returned")
CHANNELS = ("web", "phone", "shop", "partner")
CARRIERS = ("DHL", "UPS", "Fedex", "Hermes", "Postnord")
PRIORITIES = ("low", "normal", "high", "urgent")
TOPICS = ("delivery", "billing", "damage", "warranty", "advice")
STATES = ("open", "waiting", "closed")
GOODS = {
    "chairs": ("Oslo stool", "Alba armchair", "Tivo rocker", "Lund bench", "Mira recliner"),
    "tables": ("Kolin desk", "Fjord table", "Pico sidetable", "Marlo counter", "Vega trestle"),
    "lamps": ("Lumo spotlight", "Arco lamp", "Nova lantern", "Sol pendant", "Brisa uplight"),
    "storage": ("Nord shelf", "Boxa crate", "Tala cabinet", "Riva wardrobe", "Kub locker"),
    "textiles": ("Lino curtain", "Wava rug", "Plume cushion", "Cosi blanket", "Tela tablecloth"),
    "kitchen": ("Fiamma kettle", "Tosto toaster", "Mola grinder", "Cala pan", "Presto blender"),
    "garden": ("Hedera planter", "Rocio hose", "Parra parasol", "Zappa spade", "Verde bench"),
    "office": ("Klip stapler", "Memo board", "Taco printer", "Skript lectern", "Fono headset"),
}  # fmt: skip
SIZES = ("mini", "classic", "plus")
FIRST = """
    Anna Ben Carla David Elena Felix Greta Hugo Ines Jonas Klara Luca Marta Nils Olga Pablo Rosa Sven Tilda Ugo
    Vera Willem Xenia Yann Zoe Aldo Birgit Cesar Dora Emil
    """.split()  # noqa: SIM905
LAST = """
    Almeida Berger Costa Dahl Esposito Fischer Garcia Hansen Iversen Jansen Kowalski Lambert Moreau Novak Olsen
    Pereira Quist Ricci Schmidt Torres Unger Vidal Weber Yilmaz Zimmer
    """.split()  # noqa: SIM905
TRADES = """
    Bakery Books Clinic Dental Design Florist Foods Garage Hotel Imports Interiors Law Motors Optics Pharmacy
    Print School Sports Studio Travel
    """.split()  # noqa: SIM905
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
FIRST_DAY, DAYS = datetime.date(2021, 1, 4), 1400


def build(path: Path, seed: int = 7) -> None:
    """Write the database to `path`, which must not exist: the same seed, the same rows."""
    with closing(sqlite3.connect(path)) as db:
        db.executescript(SCHEMA)
        for table, rows in _tables(Random(f"backoffice/{seed}")):
            db.executemany(f"INSERT INTO {table} VALUES ({', '.join('?' * len(rows[0]))})", rows)
        db.commit()
        db.execute("VACUUM")


def employee_names() -> list[str]:
    """All 60, each once."""
    return [f"{FIRST[i % len(FIRST)]} {LAST[(7 * i + i // len(FIRST)) % len(LAST)]}" for i in range(60)]


def customer_names() -> list[str]:
    """Names of the 360 customers; some have a second row."""
    names = [f"{last} {trade}" for last in LAST for trade in TRADES]
    Random("customers").shuffle(names)
    return names[:360]


def product_names() -> list[str]:
    """All 120, each once."""
    return [f"{good} {size}" for goods in GOODS.values() for good in goods for size in SIZES]


def _tables(rng: Random) -> Iterable[tuple[str, Sequence[tuple[Any, ...]]]]:
    customers = _customers(rng)
    yield "customers", customers
    employees = _employees(rng)
    yield "employees", employees
    products = []
    for number, name in enumerate(product_names()):
        category = list(GOODS)[number // (len(SIZES) * 5)]
        price = round(rng.uniform(4, 900) ** 0.96, 2)
        stock = None if rng.random() < 0.04 else rng.randint(0, 400)
        products.append((number + 1, name, category, price, stock, int(rng.random() < 0.15)))
    yield "products", products
    orders, lines, shipments, invoices = _orders(rng, len(customers), employees, products)
    yield "orders", orders
    yield "order_lines", lines
    yield "shipments", shipments
    yield "invoices", invoices
    buyers = [row[0] for row in customers if rng.random() < 0.55]
    tickets = []
    for number in range(700):
        product = None if rng.random() < 0.2 else int(len(products) * rng.random() ** 1.5) + 1
        tickets.append((
            number + 1, rng.choice(buyers), product, _mixed(rng, _day(rng)),
            _maybe(rng, 0.06, _common(rng, PRIORITIES)), _common(rng, TOPICS), _common(rng, STATES),
        ))  # fmt: skip
    yield "tickets", tickets


def _customers(rng: Random) -> list[tuple[Any, ...]]:
    rows: list[tuple[Any, ...]] = []
    for name in customer_names():
        country = _common(rng, tuple(PLACES))
        city = _maybe(rng, 0.07, _common(rng, PLACES[country]))
        row = (name, city, country, _maybe(rng, 0.05, _common(rng, SEGMENTS)), _mixed(rng, _day(rng)))
        rows.append((len(rows) + 1, *row))
        if rng.random() < 0.06:  # entered twice, the second time with less care
            rows.append((len(rows) + 1, name, None if rng.random() < 0.5 else city, country, None, None))
    return rows


def _employees(rng: Random) -> list[tuple[Any, ...]]:
    rows = []
    for number, name in enumerate(employee_names()):
        manager = None if number < 5 else rng.randint(1, 5 + number // 6)
        salary = _maybe(rng, 0.03, 1000 * rng.randint(28, 95) + 10 * rng.randint(1, 99))
        office, hired = rng.choice(OFFICES), _day(rng).isoformat()
        rows.append((number + 1, name, DEPARTMENTS[number % 5], _maybe(rng, 0.05, office), salary, hired, manager))
    return rows


def _orders(
    rng: Random, customers: int, employees: Sequence[tuple[Any, ...]], products: Sequence[tuple[Any, ...]]
) -> tuple[list[tuple[Any, ...]], ...]:
    sellers = [row[0] for row in employees if row[2] in ("Sales", "Support", "Marketing")][3:]
    sold = [row for row in products if rng.random() < 0.92]
    orders: list[tuple[Any, ...]] = []
    lines: list[tuple[Any, ...]] = []
    shipments: list[tuple[Any, ...]] = []
    invoices: list[tuple[Any, ...]] = []
    for number in range(1, 1601):
        day = _day(rng)
        status = _common(rng, STATUSES[1:] if (datetime.date(2024, 9, 1) - day).days > 0 else STATUSES)
        customer = int(customers * 0.85 * rng.random() ** 1.6) + 1
        seller = _maybe(rng, 0.1, rng.choice(sellers))
        orders.append((number, customer, seller, day.isoformat(), status, _maybe(rng, 0.04, _common(rng, CHANNELS))))
        total = 0.0
        for product in rng.sample(sold, rng.choice((1, 1, 2, 2, 3, 4))):
            price = round(product[3] * rng.choice((1, 1, 1, 0.9, 0.85)), 2)
            quantity = rng.choice((1, 1, 1, 2, 2, 3, 4, 6, 10, 12))
            lines.append((len(lines) + 1, number, product[0], quantity, price))
            total += quantity * price
        if status not in ("open", "cancelled"):
            left = day + datetime.timedelta(rng.randint(0, 6))
            there = _maybe(rng, 0.12, (left + datetime.timedelta(rng.randint(1, 14))).isoformat())
            weight = round(rng.uniform(0.4, 80), 1)
            shipments.append((len(shipments) + 1, number, _common(rng, CARRIERS), left.isoformat(), there, weight))
        if status != "cancelled":
            issued = day + datetime.timedelta(rng.randint(0, 9))
            paid = _maybe(rng, 0.17, (issued + datetime.timedelta(rng.randint(1, 60))).isoformat())
            invoices.append((len(invoices) + 1, number, issued.isoformat(), round(total, 2), paid))
    return orders, lines, shipments, invoices


def _day(rng: Random) -> datetime.date:
    return FIRST_DAY + datetime.timedelta(rng.randrange(DAYS))


def _mixed(rng: Random, day: datetime.date) -> str:
    """A date as people typed it over the years."""
    return rng.choice((
        day.isoformat(), day.isoformat(), f"{day.day:02}.{day.month:02}.{day.year}",
        f"{MONTHS[day.month - 1]} {day.day}, {day.year}",
    ))  # fmt: skip


def _maybe(rng: Random, missing: float, value: Any) -> Any:
    return None if rng.random() < missing else value


def _common(rng: Random, values: Sequence[str]) -> str:
    """One of `values`, the first ones more often."""
    return values[int(len(values) * rng.random() ** 1.3)]
