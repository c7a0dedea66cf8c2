"""How people put what the grammar means: nouns, filters, quantities and whole questions, each in several wordings.

In filters and questions {…} are slots. A wording that starts with "=" stands before the noun, all others after it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from . import database as d

CITIES = tuple(city for cities in d.PLACES.values() for city in cities)
YEARS = ("2021", "2022", "2023", "2024")


@dataclass(frozen=True)
class Filter:
    """A condition on a table. `values` fill {v} in the SQL and in the wordings."""

    kind: str
    sql: str
    wordings: tuple[str, ...]
    values: tuple[str, ...] = ("",)


@dataclass(frozen=True)
class Link:
    """A parent table: how to join it, and the words between noun and its filter's words ("of customers")."""

    table: str
    on: str
    words: tuple[str, ...]


@dataclass(frozen=True)
class Entity:
    """A table people ask about."""

    table: str
    shown: str
    singular: tuple[str, ...]
    plural: tuple[str, ...]
    filters: tuple[Filter, ...]
    numbers: tuple[tuple[str, tuple[str, ...]], ...] = ()  # column, its names
    groups: tuple[tuple[str, tuple[str, ...]], ...] = ()
    links: tuple[Link, ...] = ()
    children: tuple[tuple[str, str, tuple[str, ...]], ...] = ()  # table, foreign key, "without any …"
    named: tuple[str, ...] = ()  # names that a question can be about
    facts: tuple[tuple[str, tuple[str, ...]], ...] = ()  # column, "What is the … of NAME?"


def same(kind: str, column: str, values: Sequence[str], *wordings: str) -> Filter:
    """Column equals a value."""
    return Filter(kind, f"{column} = '{{v}}'", wordings, tuple(values))


def above(kind: str, column: str, values: Sequence[object], *wordings: str) -> Filter:
    return Filter(kind, f"{column} > {{v}}", wordings, tuple(map(str, values)))


def below(kind: str, column: str, values: Sequence[object], *wordings: str) -> Filter:
    return Filter(kind, f"{column} < {{v}}", wordings, tuple(map(str, values)))


def year(kind: str, column: str, verb: str, *wordings: str) -> Filter:
    texts = (f"{verb} in {{v}}", f"that were {verb} in {{v}}", f"{verb} during {{v}}", f"{verb} in the year {{v}}")
    return Filter(kind, f"strftime('%Y', {column}) = '{{v}}'", (*texts, *wordings), YEARS)


CUSTOMER = (
    same("city", "customers.city", CITIES, "from {v}", "in {v}", "based in {v}"),
    same("country", "customers.country", tuple(d.PLACES), "from {v}", "in {v}", "based in {v}", "whose country is {v}",
         "located in {v}"),
    same("segment", "customers.segment", d.SEGMENTS, "={v}", "in the {v} segment", "of the {v} segment"),
    Filter("no city", "customers.city IS NULL", ("without a city", "whose city is unknown", "with no city on record")),
)  # fmt: skip
EMPLOYEE = (
    same("department", "employees.department", d.DEPARTMENTS, "in {v}", "of the {v} department", "in the {v} team",
         "working in {v}", "from {v}"),
    same("office", "employees.city", d.OFFICES, "in {v}", "based in {v}", "working in {v}", "at the {v} office",
         "in the {v} office"),
    above("salary over", "employees.salary", (40000, 45000, 50000, 60000, 70000, 80000), "earning more than {v}",
          "with a salary above {v}", "paid more than {v}"),
    below("salary under", "employees.salary", (35000, 40000, 50000, 60000), "earning less than {v}",
          "with a salary below {v}", "paid less than {v}"),
    year("hired", "employees.hired_on", "hired", "who joined in {v}", "who started in {v}"),
    Filter("no manager", "employees.manager_id IS NULL", ("without a manager", "who have no manager",
           "who report to nobody")),
)  # fmt: skip
PRODUCT = (
    same("category", "products.category", tuple(d.GOODS), "in the {v} category", "from the {v} range", "in {v}",
         "of category {v}"),
    above("price over", "products.price", (20, 50, 100, 200, 250, 300, 400), "costing more than {v}",
          "over {v} euros", "that cost more than {v}"),
    below("price under", "products.price", (50, 100, 150, 200, 300), "costing less than {v}", "under {v} euros",
          "that cost less than {v}", "cheaper than {v}"),
    above("stock over", "products.stock", (50, 100, 200, 300), "with more than {v} in stock",
          "with a stock above {v}"),
    below("stock under", "products.stock", (10, 20, 50, 100), "with less than {v} in stock",
          "with a stock below {v}"),
    Filter("discontinued", "products.discontinued = 1", ("=discontinued", "that are discontinued", "no longer sold")),
    Filter("current", "products.discontinued = 0", ("=active", "that are not discontinued", "=current",
           "still sold")),
)  # fmt: skip
ORDER = (
    same("status", "orders.status", d.STATUSES, "={v}", "with status {v}", "that are {v}",
         "whose status is {v}"),
    same("channel", "orders.channel", d.CHANNELS, "placed through the {v} channel", "that came in by {v}",
         "from the {v} channel"),
    year("ordered", "orders.ordered_on", "placed", "from {v}", "made in {v}"),
    Filter("no employee", "orders.employee_id IS NULL", ("without an employee", "that no employee handled",
           "with nobody assigned")),
)  # fmt: skip
LINE = (
    above("quantity over", "order_lines.quantity", (2, 3, 4, 5, 6, 8), "with a quantity above {v}",
          "of more than {v} pieces", "with more than {v} units"),
)  # fmt: skip
SHIPMENT = (
    same("carrier", "shipments.carrier", d.CARRIERS, "by {v}", "sent with {v}", "carried by {v}",
         "={v}"),
    year("shipped", "shipments.shipped_on", "shipped", "sent out in {v}", "that left in {v}"),
    Filter("undelivered", "shipments.delivered_on IS NULL", ("not delivered yet", "that never arrived",
           "still on the way", "=undelivered", "without a delivery date")),
    above("weight over", "shipments.weight", (10, 20, 30, 50, 60), "heavier than {v} kg", "weighing more than {v}",
          "over {v} kg"),
)  # fmt: skip
INVOICE = (
    Filter("unpaid", "invoices.paid_on IS NULL", ("=unpaid", "not paid yet", "that nobody paid", "still unpaid",
           "=outstanding")),
    Filter("paid", "invoices.paid_on IS NOT NULL", ("=paid", "that have been paid", "already paid")),
    above("amount over", "invoices.amount", (500, 1000, 2000, 3000, 5000), "over {v} euros", "above {v}",
          "of more than {v}"),
    below("amount under", "invoices.amount", (100, 200, 500, 1000), "under {v} euros", "below {v}",
          "of less than {v}"),
    year("issued", "invoices.issued_on", "issued", "from {v}", "sent in {v}"),
)  # fmt: skip
TICKET = (
    same("priority", "tickets.priority", d.PRIORITIES, "={v} priority", "with {v} priority", "of priority {v}",
         "marked {v}"),
    same("topic", "tickets.topic", d.TOPICS, "about {v}", "on the topic of {v}", "concerning {v}", "={v}"),
    same("state", "tickets.status", d.STATES, "={v}", "that are {v}", "with status {v}", "whose status is {v}"),
)  # fmt: skip

CUSTOMERS = Entity(
    "customers", "name", ("customer", "client"), ("customers", "clients"), CUSTOMER,
    groups=(("city", ("city",)), ("country", ("country",)), ("segment", ("segment",))),
    children=(("orders", "customer_id", ("without any order", "who never ordered", "who have no orders")),
              ("tickets", "customer_id", ("without any ticket", "who never opened a ticket", "who have no tickets"))),
    named=tuple(d.customer_names()[:160]),
    facts=(("city", ("city",)), ("country", ("country",)), ("segment", ("segment",))),
)  # fmt: skip
EMPLOYEES = Entity(
    "employees", "name", ("employee", "staff member"), ("employees", "staff members"), EMPLOYEE,
    (("salary", ("salary", "pay")),),
    (("department", ("department", "team")), ("city", ("office", "office city"))),
    named=tuple(d.employee_names()),
    facts=(("salary", ("salary", "pay")), ("department", ("department", "team")), ("city", ("office", "office city")),
           ("hired_on", ("hiring date", "date of hire"))),
    children=(("orders", "employee_id", ("without any order", "who handled no order", "who have no orders")),),
)  # fmt: skip
PRODUCTS = Entity(
    "products", "name", ("product", "article"), ("products", "articles"), PRODUCT,
    (("price", ("price",)), ("stock", ("stock", "number in stock"))),
    (("category", ("category", "range")),),
    named=tuple(d.product_names()),
    facts=(("price", ("price",)), ("stock", ("stock", "number in stock")), ("category", ("category", "range"))),
    children=(("order_lines", "product_id", ("that were never ordered", "nobody ever ordered", "without any order")),
              ("tickets", "product_id", ("without any ticket", "nobody complained about", "that have no tickets"))),
)  # fmt: skip
OF_CUSTOMERS = ("of customers", "from customers", "of clients", "by customers")
ORDERS = Entity(
    "orders", "id", ("order",), ("orders",), ORDER,
    groups=(("status", ("status",)), ("channel", ("channel", "sales channel"))),
    links=(Link("customers", "customers.id = orders.customer_id", OF_CUSTOMERS),
           Link("employees", "employees.id = orders.employee_id", ("handled by employees", "taken by staff members"))),
    children=(("shipments", "order_id", ("without a shipment", "that were never shipped", "with no shipment")),
              ("invoices", "order_id", ("without an invoice", "that were never invoiced", "with no invoice"))),
)  # fmt: skip
LINES = Entity(
    "order_lines", "id", ("order line", "order item"), ("order lines", "order items"), LINE,
    (("quantity", ("quantity", "number of pieces")), ("unit_price", ("unit price", "price per piece"))),
    links=(Link("products", "products.id = order_lines.product_id", ("for products", "of products", "for articles")),
           Link("orders", "orders.id = order_lines.order_id", ("of orders", "in orders", "belonging to orders"))),
)  # fmt: skip
SHIPMENTS = Entity(
    "shipments", "id", ("shipment", "parcel"), ("shipments", "parcels"), SHIPMENT,
    (("weight", ("weight",)),), (("carrier", ("carrier", "shipping company")),),
    links=(Link("orders", "orders.id = shipments.order_id", ("of orders", "for orders")),),
)  # fmt: skip
INVOICES = Entity(
    "invoices", "id", ("invoice", "bill"), ("invoices", "bills"), INVOICE, (("amount", ("amount", "sum")),),
    links=(Link("orders", "orders.id = invoices.order_id", ("for orders", "of orders")),),
)  # fmt: skip
TICKETS = Entity(
    "tickets", "id", ("ticket", "support ticket"), ("tickets", "support tickets"), TICKET,
    groups=(("topic", ("topic", "subject")), ("priority", ("priority",)), ("status", ("status",))),
    links=(Link("customers", "customers.id = tickets.customer_id", OF_CUSTOMERS),
           Link("products", "products.id = tickets.product_id", ("about products", "for products", "on articles"))),
)  # fmt: skip
ENTITIES = (CUSTOMERS, EMPLOYEES, PRODUCTS, ORDERS, LINES, SHIPMENTS, INVOICES, TICKETS)
BY_TABLE = {entity.table: entity for entity in ENTITIES}

COUNT = (
    "How many {many} are there?", "How many {many} do we have?", "Count the {many}.", "What is the number of {many}?",
    "Number of {many}?", "Tell me how many {many} we have.", "Give me the count of {many}.",
)  # fmt: skip
LIST = (
    "Which {many} are there?", "List the {many}.", "Show me all {many}.", "Give me the {many}.", "What are the {many}?",
    "I need a list of the {many}.", "Show the {many}, please.",
)  # fmt: skip
TOTAL = {
    "AVG": ("What is the average {what} of {many}?", "Average {what} of {many}?",
            "What {what} do {many} have on average?", "Tell me the mean {what} of {many}."),
    "SUM": ("What is the total {what} of {many}?", "Total {what} of {many}?", "What {what} do {many} add up to?",
            "Add up the {what} of {many}."),
    "MAX": ("What is the highest {what} of {many}?", "What is the maximum {what} among {many}?",
            "Highest {what} of {many}?", "Tell me the largest {what} of {many}."),
    "MIN": ("What is the lowest {what} of {many}?", "What is the minimum {what} among {many}?",
            "Lowest {what} of {many}?", "Tell me the smallest {what} of {many}."),
}  # fmt: skip
MOST = (
    "Which {one} has the highest {what}?", "What {one} has the largest {what}?",
    "Show the {one} with the highest {what}.", "Name the {one} with the most {what}.",
)  # fmt: skip
LEAST = (
    "Which {one} has the lowest {what}?", "What {one} has the smallest {what}?",
    "Show the {one} with the lowest {what}.", "Name the {one} with the least {what}.",
)  # fmt: skip
TOP = (
    "Show the {k} {many} with the highest {what}.", "Which {k} {many} have the highest {what}?",
    "List the top {k} {many} by {what}.", "Give me the {k} {many} with the largest {what}.",
)  # fmt: skip
PER = (
    "How many {many} are there per {group}?", "Count the {many} for each {group}.", "Number of {many} by {group}?",
    "Show the number of {many} in each {group}.", "For every {group}, how many {many} are there?",
)  # fmt: skip
TOTAL_PER = {
    "AVG": ("What is the average {what} of {many} per {group}?", "Show the average {what} of {many} for each {group}.",
            "Mean {what} of {many} by {group}?"),
    "SUM": ("What is the total {what} of {many} per {group}?", "Show the total {what} of {many} for each {group}.",
            "Add up the {what} of {many} by {group}."),
    "MAX": ("What is the highest {what} of {many} per {group}?", "Show the maximum {what} of {many} for each {group}."),
}  # fmt: skip
MOST_COMMON = (
    "Which {group} has the most {many}?", "What {group} has the largest number of {many}?",
    "Name the {group} with the most {many}.", "Which {group} do most {many} have?",
)  # fmt: skip
HAVING = (
    "Which {group} values have more than {k} {many}?", "List every {group} with more than {k} {many}.",
    "Show each {group} that has over {k} {many}.", "Which {group} has more than {k} {many}?",
)  # fmt: skip
FACT = (
    "What is the {what} of {name}?", "Tell me the {what} of {name}.", "{name}: what is the {what}?",
    "What {what} does {name} have?", "I'd like to know the {what} of {name}.",
)  # fmt: skip
ABOVE_AVERAGE = (
    "Which {many} have a {what} above average?", "List the {many} with a {what} higher than the average.",
    "Show {many} whose {what} is above the mean.",
)  # fmt: skip
DISTINCT = (
    "How many different {group} values do {many} have?", "Count the different {group} values of {many}.",
    "How many distinct {group} values are there among {many}?",
)  # fmt: skip
BUSIEST = (
    "Which {one} has the most {children}?", "Name the {one} with the most {children}.",
    "What {one} has the largest number of {children}?", "Show the {one} with the most {children}.",
)  # fmt: skip
OPENINGS = ("", "", "", "", "", "", "", "", "Please: ", "Hi, quick question. ")
