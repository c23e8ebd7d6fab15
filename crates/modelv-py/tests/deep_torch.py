"""PyTorch, Lightning and Transformers as they come from PyPI. A long form: what they need is some
gigabytes, so `cargo test` leaves it to `tests/deep.sh`, which installs them."""

import json
import os
import unittest
import warnings

import modelv as mv
import torch
from support import TreeCase

warnings.simplefilter("ignore")


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.first = torch.nn.Linear(4, 8)
        self.second = torch.nn.Linear(8, 2)
        self.tied = self.second
        self.register_buffer("scale", torch.ones(3, dtype=torch.bfloat16))

    def forward(self, x):
        return self.second(torch.relu(self.first(x)))


def batch():
    made = torch.Generator().manual_seed(5)
    x = torch.rand(32, 4, generator=made)
    return x, (x.sum(1) > 2).long()


def train():
    import modelv.torch

    modelv.torch.seed(7)
    model = Net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, step_size=2, gamma=0.1)
    with mv.run("train") as run:
        modelv.torch.track(model, optimizer)
        for step in range(6):
            loss = torch.nn.functional.cross_entropy(model(batch()[0]), batch()[1])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            run.metric("loss", loss, step)
    return run, model


LOOP = """
import torch, modelv as mv, modelv.torch
with mv.run("train") as run:
    modelv.torch.seed(3)
    net = torch.nn.Sequential(torch.nn.Linear(4, 16), torch.nn.ReLU(), torch.nn.Dropout(), torch.nn.Linear(16, 1))
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
    modelv.torch.track(net, optimizer)
    x = torch.rand(64, 4)
    for step in range(5):
        loss = (net(x) - x.sum(1, keepdim=True)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        run.metric("loss", loss, step)
"""


class Torch(TreeCase):
    def record(self, run):
        [found] = [r for r in self.repo.runs() if r["id"] == run.id]
        return found

    def test_a_loop_is_tracked_and_its_weights_come_back(self):
        import modelv.torch

        run, model = train()
        record = self.record(run)
        self.assertEqual(record["params"]["Net.weights"], 4 * 8 + 8 + 8 * 2 + 2)
        self.assertEqual(record["params"]["SGD.lr"], 0.5)
        rates = [(p["step"], round(p["value"], 6)) for p in self.repo.series(run.id, "lr")]
        self.assertEqual(rates, [(0, 0.5), (2, 0.05), (4, 0.005)])
        self.assertEqual(len(self.repo.series(run.id, "loss")), 6)
        found = mv.load("HEAD", "models/Net.safetensors", framework="torch")
        for name, value in model.state_dict().items():
            self.assertTrue(torch.equal(found[name], value) and found[name].dtype == value.dtype, name)
        other = Net()
        modelv.torch.load_into(other, "HEAD", "models/Net.safetensors")
        self.assertTrue(torch.equal(other(batch()[0]), model(batch()[0])))
        os.unlink("models/Net.safetensors")
        again, _ = train()
        files = [{f["path"]: f["id"] for f in self.repo.files(r.commit.id)} for r in (run, again)]
        self.assertEqual(files[0], files[1])

    def test_a_loop_is_recreated_from_its_commit_alone(self):
        ours, theirs = self.recreate(LOOP)
        losses = [[p["value"] for p in r.series(r.runs()[0]["id"], "loss")] for r in (ours, theirs)]
        self.assertEqual(len(losses[0]), 5)
        self.assertEqual(losses[0], losses[1])

    def test_types_that_numpy_does_not_have(self):
        values = {
            name: torch.tensor([0.5, -2.0, 7.0]).to(getattr(torch, name))
            for name in ("bfloat16", "float16", "float8_e4m3fn", "float8_e5m2")
        }
        values["strided"] = torch.arange(6, dtype=torch.bfloat16).reshape(2, 3).T
        with mv.run() as run:
            run.save("models/w.safetensors", values)
        from safetensors.torch import load_file

        for found in (mv.load("HEAD", "models/w.safetensors", framework="torch"), load_file("models/w.safetensors")):
            for name, value in values.items():
                self.assertEqual(found[name].dtype, value.dtype)
                self.assertTrue(torch.equal(found[name].float(), value.float()), name)
        with self.assertRaisesRegex(TypeError, "ml_dtypes"):
            mv.load("HEAD", "models/w.safetensors")
        self.assertEqual(mv.load("HEAD", "models/w.safetensors", names=["float16"])["float16"][2], 7.0)
        self.assertIsNone(run.commit.parents or None)

    def test_lightning(self):
        import lightning
        from modelv.lightning import RunCallback

        class Module(lightning.LightningModule):
            def __init__(self, rate=0.1):
                super().__init__()
                self.save_hyperparameters()
                self.net = Net()

            def training_step(self, pair, _):
                loss = torch.nn.functional.cross_entropy(self.net(pair[0]), pair[1])
                self.log("loss", loss)
                return loss

            def validation_step(self, pair, _):
                self.log("val_loss", torch.nn.functional.cross_entropy(self.net(pair[0]), pair[1]))

            def configure_optimizers(self):
                return torch.optim.SGD(self.parameters(), lr=self.hparams.rate)

        data = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(*batch()), batch_size=8)

        def fit():
            trainer = lightning.Trainer(
                max_epochs=3, log_every_n_steps=1, accelerator="cpu", logger=False, callbacks=[RunCallback()],
                enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
            )
            module = Module(rate=0.25)
            trainer.fit(module, data, data)
            return module

        with mv.run() as run:
            module = fit()
        record = self.record(run)
        self.assertEqual(record["params"]["hparams.rate"], 0.25)
        self.assertEqual(record["params"]["trainer.max_epochs"], 3)
        self.assertEqual(len(self.repo.series(run.id, "loss")), 12)
        self.assertEqual(len(self.repo.series(run.id, "val_loss")), 3)
        found = mv.load("HEAD", "models/Module.safetensors", framework="torch")
        self.assertTrue(torch.equal(found["net.first.weight"], module.net.first.weight))
        # Without a run it changes nothing.
        fit()
        self.assertEqual(len(self.repo.runs()), 1)

    def test_transformers(self):
        from modelv.transformers import RunCallback
        from transformers import BertConfig, BertForSequenceClassification, Trainer, TrainingArguments

        class Words(torch.utils.data.Dataset):
            def __len__(self):
                return 16

            def __getitem__(self, n):
                return {"input_ids": torch.tensor([n % 7, 1, 2]), "labels": n % 2}

        config = BertConfig(vocab_size=10, hidden_size=8, num_hidden_layers=1, num_attention_heads=2,
                            intermediate_size=8, max_position_embeddings=8)
        model = BertForSequenceClassification(config)
        arguments = TrainingArguments(
            output_dir=str(self.root / ".mv" / "tmp" / "out"), num_train_epochs=2, logging_steps=1, report_to=[],
            per_device_train_batch_size=8, save_strategy="no", disable_tqdm=True, use_cpu=True, seed=3,
        )
        with mv.run() as run:
            Trainer(model=model, args=arguments, train_dataset=Words(), callbacks=[RunCallback()]).train()
        record = self.record(run)
        self.assertEqual(record["params"]["training.seed"], 3)
        self.assertEqual(record["params"]["model.hidden_size"], 8)
        self.assertEqual(len(self.repo.series(run.id, "loss")), 4)
        found = mv.load("HEAD", "models/model.safetensors", framework="torch")
        self.assertTrue(torch.equal(found["classifier.weight"], model.classifier.weight))
        self.assertEqual(json.loads(mv.read("HEAD", "models/config.json").read())["hidden_size"], 8)


if __name__ == "__main__":
    unittest.main()
