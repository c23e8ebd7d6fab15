"""Cases that a first reading of requirements gets wrong."""
import unittest

from requirements import packages, system_packages

CASES = {
    "pandas~=2.0": ["pandas"],
    "numpy!=1": ["numpy"],
    "torch >=1": ["torch"],
    "torchvision==0.2": ["torchvision"],
    "Foo_Bar.baz[x, y]==1": ["foo-bar-baz"],
    'rich ; python_version < "3.9"': ["rich"],
    "git+https://example.org/a/b.git@main": ["b"],
    "git+https://example.org/a/b.git": ["b"],
    "git+https://example.org/a/b#egg=Dee_d": ["dee-d"],
    "https://example.org/My_Pkg-1.0-py3-none-any.whl": ["my-pkg"],
    "https://example.org/p-1.2.tar.gz": ["p"],
    "foo @ https://example.org/foo-1.0-py3-none-any.whl": ["foo"],
    "-e git+https://example.org/a/zed.git": ["zed"],
    "-e .": [],
    "-r other.txt": [],
    "--index-url https://example.org/simple": [],
    "# numpy": [],
    "numpy  # the fast one": ["numpy"],
    "numpy==1.0 \\\n  --hash=sha256:00": ["numpy"],
    "": [],
}


class Requirements(unittest.TestCase):
    def test_names(self):
        for text, names in CASES.items():
            with self.subTest(text):
                self.assertEqual(packages(text), names)

    def test_order_and_repetition_are_nothing(self):
        self.assertEqual(packages("b\na\nB==1\r\n"), ["a", "b"])

    def test_system_packages(self):
        self.assertEqual(system_packages('["libgomp1", " LibX "]'), ["libgomp1", "libx"])
        for nothing in (None, "", " ", "[]"):
            self.assertEqual(system_packages(nothing), [])


if __name__ == "__main__":
    unittest.main()
