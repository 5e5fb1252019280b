from __future__ import annotations

import json
import multiprocessing
import os
import time
from collections import Counter
from pathlib import Path
from queue import Empty
from typing import Any

import pytest
from kombu import Connection, Exchange, Queue

from hub.jobs import disk_transport

disk_transport.register()


def connect(folder: Path) -> Connection:
    return Connection("disk://localhost/", transport_options={"folder": str(folder), "polling_interval": 0.01})


def produce(folder: Path, name: int, count: int) -> None:
    with connect(folder) as connection:
        queue = connection.SimpleQueue("work")
        for number in range(count):
            queue.put({"id": f"{name}-{number}", "padding": "x" * 5000})
        queue.close()


def consume(folder: Path, seen: Path, stop: Any) -> None:
    with connect(folder) as connection, (seen / str(os.getpid())).open("w") as out:
        queue = connection.SimpleQueue("work")
        while True:
            ending = stop.is_set()
            try:
                message = queue.get(block=False)
            except Empty:
                if ending:
                    break
                time.sleep(0.005)
                continue
            out.write(message.payload["id"] + "\n")
            message.ack()
        queue.close()


@pytest.mark.parametrize("round_", range(2))
def test_many_producers_and_consumers_exchange_every_message_exactly_once(tmp_path: Path, round_: int) -> None:
    folder, seen = tmp_path / "broker", tmp_path / "seen"
    seen.mkdir()
    context = multiprocessing.get_context("fork")
    stop = context.Event()
    consumers = [context.Process(target=consume, args=(folder, seen, stop)) for _ in range(4)]
    producers = [context.Process(target=produce, args=(folder, name, 150)) for name in range(3)]

    for process in [*consumers, *producers]:
        process.start()
    for process in producers:
        process.join(60)
    stop.set()
    for process in consumers:
        process.join(60)

    assert [process.exitcode for process in [*consumers, *producers]] == [0] * 7
    received = Counter(line for file in seen.iterdir() for line in file.read_text().split())
    assert received == Counter(f"{name}-{number}" for name in range(3) for number in range(150))
    assert list((folder / "queues" / "work").iterdir()) == []


def test_messages_come_in_the_order_they_were_sent(tmp_path: Path) -> None:
    with connect(tmp_path) as connection:
        queue = connection.SimpleQueue("work")
        for number in range(20):
            queue.put(number)

        assert [queue.get(block=False).payload for _ in range(20)] == list(range(20))


def test_a_message_goes_only_to_the_queue_of_its_routing_key(tmp_path: Path) -> None:
    with connect(tmp_path) as connection:
        quick, train = (Queue(name, Exchange(name), routing_key=name) for name in ("quick", "train"))
        producer = connection.Producer()
        producer.publish({"id": 1}, exchange=train.exchange, routing_key="train", declare=[quick, train])

        assert connection.SimpleQueue(train).get(block=False).payload == {"id": 1}
        with pytest.raises(Empty):
            connection.SimpleQueue(quick).get(block=False)


def test_a_fanout_reaches_every_bound_queue_of_every_process(tmp_path: Path) -> None:
    everybody = Exchange("everybody", type="fanout")
    with connect(tmp_path) as one, connect(tmp_path) as two:
        first = Queue("first", everybody)(one.channel())
        second = Queue("second", everybody)(two.channel())
        first.declare()
        second.declare()

        one.Producer().publish({"hello": True}, exchange=everybody)

        assert first.get().payload == second.get().payload == {"hello": True}
        second.delete()
        one.Producer().publish({"hello": False}, exchange=everybody)
        assert first.get().payload == {"hello": False}
        assert not list((tmp_path / "queues" / "second").glob("*"))


def test_cleaning_removes_old_messages_and_leaves_new_ones(tmp_path: Path) -> None:
    with connect(tmp_path) as connection:
        queue = connection.SimpleQueue("work")
        queue.put("old")
        [old] = (tmp_path / "queues" / "work").glob("*.json")
        os.utime(old, (time.time() - 7200, time.time() - 7200))
        half = old.with_name(".half.tmp")
        half.write_text(json.dumps("half"))
        os.utime(half, (time.time() - 7200, time.time() - 7200))
        queue.put("new")

        assert disk_transport.clean(tmp_path, older_than_s=3600) == 2

        assert queue.get(block=False).payload == "new"
