"""Which files belong together and which patients go where: lists, folders and splits, without opening an image."""

import json
import os
import re
import time
from itertools import chain
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from Engine.made_images import code_of, quick
from upgan.errors import InputError
from upgan.pairs import patterns
from upgan.pairs.checking import check_pairs, check_set
from upgan.pairs.config import DataConfig, SplitConfig
from upgan.pairs.finding import PairFiles, file_stem, find_pairs
from upgan.pairs.findings import CheckedPair
from upgan.pairs.splitting import split_subjects
from upgan.tasks import PET_TO_CT


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def found(path: Path, layout: str, **settings) -> list[tuple]:
    """Subjects with their files relative to the folder."""
    folder = path if path.is_dir() else path.parent
    pairs = find_pairs(DataConfig(path=path, layout=layout, **settings))
    return [
        (pair.subject, *(side and side.relative_to(folder).as_posix() for side in (pair.input, pair.target)))
        for pair in pairs
    ]


# Lists of files


def test_a_manifest_names_its_files_beside_itself(tmp_path):
    content = {
        "input": "nacpet",
        "target": "ct",
        "subjects": [{"subject": "b", "nacpet": "b_p.nii", "ct": "b_c.nii"}, {"subject": "a", "nacpet": "a_p.nii"}],
    }
    (tmp_path / "manifest.json").write_text(json.dumps(content), encoding="utf-8")
    expected = [("a", "a_p.nii", None), ("b", "b_p.nii", "b_c.nii")]
    assert found(tmp_path / "manifest.json", "manifest") == expected
    assert found(tmp_path, "manifest") == expected


@pytest.mark.parametrize("text", ["", "{", "[]", '{"subjects": [3]}', '{"input": "a", "target": "b"}'])
def test_what_is_no_manifest_is_refused(tmp_path, text):
    (tmp_path / "manifest.json").write_text(text, encoding="utf-8")
    assert code_of(lambda: find_pairs(DataConfig(path=tmp_path))) == "manifest_unreadable"


def table(folder: Path, text: str, encoding: str = "utf-8") -> DataConfig:
    (folder / "pairs.csv").write_bytes(text.encode(encoding))
    return DataConfig(path=folder / "pairs.csv", layout="csv")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_a_table_is_read_as_spreadsheets_write_it(tmp_path, delimiter, end, encoding):
    rows = [["Subject", "target", "INPUT "], ["Ö 2", '"c 2.nii"', "p/2.nii"], ["1", "c1.nii", ""], ["", "", ""]]
    data = table(tmp_path, end.join(delimiter.join(row) for row in rows), encoding)
    assert find_pairs(data) == [
        PairFiles("1", None, tmp_path / "c1.nii"),
        PairFiles("Ö 2", tmp_path / "p/2.nii", tmp_path / "c 2.nii"),
    ]


def test_a_table_may_assign_the_split(tmp_path):
    data = table(tmp_path, "subject,input,target,split\na,1,2,Train\nb,1,2,test\nc,1,2,\n")
    assert [pair.split for pair in find_pairs(data)] == ["train", "test", None]


@pytest.mark.parametrize(
    ("text", "code", "named"),
    [
        ("subject,target\na,b\n", "csv_columns", "lacks columns: input"),
        ("patient;input;target\na;b;c\n", "csv_columns", "lacks columns: subject"),
        ("subject,input,target,splitt\n", "csv_columns", "unknown columns: splitt"),
        ("subject,input,input,target\n", "csv_columns", "repeats columns: input"),
        ("", "csv_columns", "subject, input, target"),
        ("subject,input,target\na,b,c\n,b,c\n", "csv_row", "Line 3 of 'pairs.csv' names no subject"),
        ("subject,input,target\na,b,c,d\n", "csv_row", "Line 2 of 'pairs.csv' has 4 cells"),
        ("subject,input,target,split\na,b,c,val\n", "csv_row", "'val', which is none of train, validation, test"),
        ("subject,input,target\n", "no_pairs", "'pairs.csv'"),
    ],
)
def test_a_wrong_table_is_refused_with_what_is_wrong_named(tmp_path, text, code, named):
    data = table(tmp_path, text)
    with pytest.raises(InputError) as refusal:
        find_pairs(data)
    assert refusal.value.code == code
    assert named in refusal.value.sentence


def test_a_table_of_another_encoding_is_refused(tmp_path):
    data = table(tmp_path, "subject,input,target\nMüller,a,b\n", "latin-1")
    assert code_of(lambda: find_pairs(data)) == "csv_unreadable"


def test_rows_of_one_subject_are_sessions_of_one_patient(tmp_path):
    pairs = find_pairs(table(tmp_path, "subject,input,target\np,1,2\np,3,4\nq,5,6\n"))
    assert [(pair.subject, pair.patient) for pair in pairs] == [("p_ses-1", "p"), ("p_ses-2", "p"), ("q", "q")]
    clash = table(tmp_path, "subject,input,target\np,1,2\np,3,4\np_ses-1,5,6\n")
    assert code_of(lambda: find_pairs(clash)) == "duplicate_subject"


# Folders


def test_a_pattern_finds_one_file_of_each_side_per_subject(tmp_path):
    touch(tmp_path, "s1/pet.nii.gz", "s1/ct.nii.gz", "s2/pet.nii.gz", "s3/ct.nii.gz", "notes.txt", "s1/._pet.nii.gz")
    assert found(tmp_path, "pattern", input="{subject}/pet.nii.gz", target="{subject}/ct.nii.gz") == [
        ("s1", "s1/pet.nii.gz", "s1/ct.nii.gz"),
        ("s2", "s2/pet.nii.gz", None),
        ("s3", None, "s3/ct.nii.gz"),
    ]


def test_a_pattern_may_repeat_the_subject_and_hold_wildcards_and_brackets(tmp_path):
    touch(
        tmp_path,
        "a/x/a_PET_1.nrrd",
        "a/a_CT[1].nrrd",
        "b/y/a_PET_1.nrrd",  # of another subject's name
        "._a/x/._a_PET_1.nrrd",
        "c/u/v/c_PET_2.nrrd",
    )
    settings = {"input": "{subject}/**/{subject}_PET_?.nrrd", "target": r"{subject}\{subject}_CT[1].nrrd"}
    assert found(tmp_path, "pattern", **settings) == [
        ("a", "a/x/a_PET_1.nrrd", "a/a_CT[1].nrrd"),
        ("c", "c/u/v/c_PET_2.nrrd", None),
    ]


def test_folders_of_dicom_series_may_be_sides_of_a_pair(tmp_path):
    touch(tmp_path, "p1/NAC/1.dcm", "p1/CT/1.dcm")
    assert found(tmp_path, "pattern", input="{subject}/NAC", target="{subject}/CT") == [("p1", "p1/NAC", "p1/CT")]


def test_several_files_for_one_side_are_refused(tmp_path):
    touch(tmp_path, "s1/pet_a.nii", "s1/pet_b.nii", "s1/ct.nii")
    data = DataConfig(path=tmp_path, layout="pattern", input="{subject}/pet*.nii", target="{subject}/ct.nii")
    with pytest.raises(InputError, match=r"s1 both 'pet_a.nii' and 'pet_b.nii'") as refusal:
        find_pairs(data)
    assert refusal.value.code == "ambiguous_files"


@pytest.mark.parametrize("pattern", ["pet.nii", "/{subject}/pet.nii", "../{subject}/pet.nii", "{subject}/../x.nii"])
def test_a_pattern_without_a_subject_or_out_of_the_folder_is_refused(tmp_path, pattern):
    data = DataConfig(path=tmp_path, layout="pattern", input=pattern, target="{subject}.nii")
    assert code_of(lambda: find_pairs(data)) == "bad_pattern"


@pytest.mark.parametrize(
    ("label", "patient"),
    [
        ("P1_visit1", "P1"),
        ("P1-visit-2", "P1"),
        ("P01-ses-1", "P01"),
        ("P01_ses_02", "P01"),
        ("sub-01_ses-pre", "sub-01"),
        ("head.scan3", "head"),
        ("sub-003", "sub-003"),
        ("visitor_7", "visitor_7"),
        ("P1_visitor", "P1_visitor"),
    ],
)
def test_visits_that_are_named_as_such_are_one_patients(label, patient):
    assert PairFiles(label, None, None).patient == patient


def test_bids_sessions_are_subjects_of_one_patient(tmp_path):
    touch(
        tmp_path,
        "participants.tsv",
        "sub-01/ses-a/pet/sub-01_ses-a_pet.nii.gz",
        "sub-01/ses-a/ct/sub-01_ses-a_ct.nii",
        "sub-01/ses-b/pet/sub-01_ses-b_pet.nii.gz",
        "sub-02/pet/sub-02_trc-FDG_pet.nii.gz",
        "sub-02/pet/sub-02_trc-FDG_pet.json",
        "sub-02/ct/sub-02_ct.nii.gz",
        "derivatives/seg/sub-02/sub-02_ct.nii.gz",
    )
    pairs = find_pairs(DataConfig(path=tmp_path, layout="bids", input="pet", target="ct"))
    assert [(pair.subject, pair.patient, pair.target is None) for pair in pairs] == [
        ("sub-01_ses-a", "sub-01", False),
        ("sub-01_ses-b", "sub-01", True),
        ("sub-02", "sub-02", False),
    ]


@pytest.mark.parametrize("folder", ["", "IXI-T1/"])
def test_ixi_is_read_as_it_is_downloaded(tmp_path, folder):
    names = [f"{folder}IXI{n:03}-{site}-T1.nii.gz" for n, site in ((2, "Guys-0828"), (12, "HH-1211"), (35, "IOP-0873"))]
    touch(tmp_path, *names, f"{folder}IXI002-Guys-0828-T2.nii.gz", f"{folder}IXI002-Guys-0828-MRA.nii.gz", "IXI.xls")
    settings = {"task": "mri_undersampled", "degradation": "central_lines"}
    assert found(tmp_path, "ixi", **settings) == [
        ("IXI002", None, names[0]),
        ("IXI012", None, names[1]),
        ("IXI035", None, names[2]),
    ]
    with pytest.raises(ValidationError, match="clean images only"):
        DataConfig(path=tmp_path, layout="ixi", task="mri_motion")


def test_a_degradation_needs_no_inputs(tmp_path):
    settings = {"task": "mri_motion", "degradation": "motion"}
    touch(tmp_path, "a/t1.nii", "a/moved.nii")
    assert found(tmp_path, "pattern", target="{subject}/t1.nii", **settings) == [("a", None, "a/t1.nii")]
    (tmp_path / "pairs.csv").write_text("subject,target\na,a/t1.nii\n", encoding="utf-8")
    assert found(tmp_path / "pairs.csv", "csv", **settings) == [("a", None, "a/t1.nii")]
    (tmp_path / "pairs.csv").write_text("subject,input,target\na,x.nii,a/t1.nii\n", encoding="utf-8")
    assert found(tmp_path / "pairs.csv", "csv", **settings) == [("a", None, "a/t1.nii")]


@pytest.mark.parametrize(
    "settings",
    [
        {"layout": "pattern", "input": "{subject}/a", "target": "{subject}/b"},
        {"layout": "bids", "input": "pet", "target": "ct"},
        {"layout": "ixi", "task": "mri_motion", "degradation": "motion"},
    ],
)
def test_an_empty_folder_is_refused(tmp_path, settings):
    assert code_of(lambda: find_pairs(DataConfig(path=tmp_path, **settings))) == "no_pairs"
    assert code_of(lambda: find_pairs(DataConfig(path=tmp_path / "gone", **settings))) == "data_not_found"


def test_no_label_reaches_the_name_of_a_file():
    assert file_stem("../../Müller, Anna") != file_stem("../../Müller, Otto")
    assert file_stem("../../Müller, Anna").isalnum()


# The split


def pairs_of(*subjects: str, split: str | None = None) -> list[PairFiles]:
    return [PairFiles(subject, None, None, split) for subject in subjects]


@st.composite
def patients(draw) -> list[PairFiles]:
    sessions = draw(st.lists(st.integers(1, 3), min_size=3, max_size=60))
    return [
        PairFiles(f"p{number:02}" + (f"_ses-{session}" if count > 1 else ""), None, None)
        for number, count in enumerate(sessions)
        for session in range(count)
    ]


@quick
@given(pairs=patients(), seed=st.integers(0, 99))
def test_every_subject_is_in_one_part_and_every_patient_too(pairs, seed):
    split = split_subjects(pairs, SplitConfig(seed=seed))
    assert sorted(chain(*split)) == sorted(pair.subject for pair in pairs)
    patient_of = {pair.subject: pair.patient for pair in pairs}
    parts = [{patient_of[subject] for subject in part} for part in split]
    assert all(parts)
    assert sum(map(len, parts)) == len(set().union(*parts)) == len(set(patient_of.values()))
    assert split == split_subjects(list(reversed(pairs)), SplitConfig(seed=seed))


def test_a_tenth_is_watched_and_three_tenths_are_held_out_unless_told_otherwise():
    subjects = [f"s{n:02}" for n in range(49)]
    assert [len(part) for part in split_subjects(pairs_of(*subjects), SplitConfig())] == [29, 5, 15]
    asked = SplitConfig(train=10, validation=4, test=2)
    assert [len(part) for part in split_subjects(pairs_of(*subjects), asked)] == [10, 4, 2]
    greedy = SplitConfig(train=47)
    assert [len(part) for part in split_subjects(pairs_of(*subjects), greedy)] == [47, 1, 1]
    assert [len(part) for part in split_subjects(pairs_of("a", "b", "c"), SplitConfig())] == [1, 1, 1]


def test_seeds_shuffle_and_fewer_training_patients_leave_the_held_out_ones_alone():
    pairs = pairs_of(*[f"s{n:02}" for n in range(49)])
    few, many = (split_subjects(pairs, SplitConfig(train=n, validation=5, test=15)) for n in (5, 29))
    assert (few.validation, few.test) == (many.validation, many.test)
    assert set(few.train) < set(many.train)
    assert split_subjects(pairs, SplitConfig(seed=1)) != split_subjects(pairs, SplitConfig(seed=2))


def test_a_given_split_is_taken_as_it_is():
    pairs = [
        *pairs_of("a", "b", split="test"),
        *pairs_of("c", split="train"),
        *pairs_of("d_ses-1", "d_ses-2", split="validation"),
    ]
    assert split_subjects(pairs, SplitConfig(test=1)) == (["c"], ["d_ses-1", "d_ses-2"], ["a", "b"])


@pytest.mark.parametrize(
    ("pairs", "settings", "code"),
    [
        (pairs_of("a"), {}, "one_patient"),
        (pairs_of("a_ses-1", "a_ses-2", "a_ses-3"), {}, "one_patient"),
        (pairs_of("a", "b"), {}, "too_few_subjects"),
        (pairs_of("a", "b", "c", "d"), {"train": 3}, "too_few_subjects"),
        (pairs_of("a", "b_ses-1", split="train") + pairs_of("b_ses-2", split="test"), {}, "patient_in_two_parts"),
        (pairs_of("a", split="train") + pairs_of("b"), {}, "split_incomplete"),
        (pairs_of("a", split="train") + pairs_of("b", split="test"), {}, "empty_part"),
    ],
)
def test_a_split_that_cannot_be_made_is_refused(pairs, settings, code):
    assert code_of(lambda: split_subjects(pairs, SplitConfig(**settings))) == code


# Odd lists


TREE = ("a/b/c/pet.nii", "a/b/c/" + "a" * 250, "p1/pet.nii", "p1/ct.nii", "p2/x**y.nii")


@pytest.mark.parametrize(
    ("pattern", "outcome"),
    [
        ("{subject}/p**t.nii", ["p1"]),  # no folders within a name: as one *
        ("{subject}/x**y.nii", ["p2"]),
        ("**/" * 300 + "{subject}/pet.nii", ["c", "p1"]),
        ("**/" * 2000 + "{subject}/pet.nii", "bad_pattern"),
        ("**/x" * 10 + "/{subject}/pet.nii", "no_pairs"),
        ("**/*/" * 12 + "{subject}/pet.nii", "no_pairs"),
        ("**/{subject}/" + "*a" * 100 + "b", "no_pairs"),
        ("**/{subject}" + "*a" * 100 + "b", "no_pairs"),
        ("*/" * 40 + "{subject}", "bad_pattern"),
        ("{subject}/" + "x" * 5000, "bad_pattern"),
        ("C:/{subject}/pet.nii", "bad_pattern"),
        ("{subject}/d:pet.nii", "bad_pattern"),
        ("{subject}/pet\0.nii", "bad_pattern"),
        ("a/../{subject}.nii", "bad_pattern"),
        ("\udc80{subject}", "no_pairs"),
        ("[{subject}/(+", "no_pairs"),
    ],
)
def test_no_pattern_takes_long_or_leads_out_of_the_folder(tmp_path, pattern, outcome):
    touch(tmp_path, *TREE)
    if os.name == "posix":
        (tmp_path / "loop").symlink_to(".")
        (tmp_path / "a" / "up").symlink_to("..")
    data = DataConfig(path=tmp_path, layout="pattern", input=pattern, target="{subject}/ct.nii")
    started = time.process_time()
    try:
        found = [pair.subject for pair in find_pairs(data) if pair.input]
    except InputError as error:
        found = error.code
    # The target alone is there where nothing matches.
    assert found == outcome or (outcome == "no_pairs" and found == [])
    assert time.process_time() - started < 2


def test_a_disk_full_of_names_is_not_looked_through(tmp_path, monkeypatch):
    monkeypatch.setattr(patterns, "_MOST_NAMES", 20)
    touch(tmp_path, *(f"s{number}/x/pet.nii" for number in range(9)))
    data = DataConfig(path=tmp_path, layout="pattern", input="**/{subject}/**/pet.nii", target="{subject}/ct.nii")
    assert code_of(lambda: find_pairs(data)) == "too_many_files"


PIECES = st.lists(st.sampled_from(["a", "b", "*", "?", "{subject}"]), max_size=5).map("".join)


@given(PIECES, PIECES, st.text("ab", min_size=1, max_size=7))
@quick
def test_wildcards_and_labels_match_what_a_regular_expression_that_tries_everything_matches(before, after, name):
    pattern = f"{before}{{subject}}{after}"
    expression, seen = "", False
    for piece in re.split(r"(\{subject\}|\*|\?)", pattern):
        label = "(?P=s)" if seen else "(?P<s>.+)"
        seen |= piece == "{subject}"
        expression += {"{subject}": label, "*": ".*", "?": "."}.get(piece, piece)
    label = patterns.Pattern.of(pattern).subject_of((name,))
    assert (label is not None) == (re.fullmatch(expression, name) is not None)
    if label is not None:
        assert re.fullmatch(expression.replace(".+)", f"{label})"), name)


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"a," + b"x" * 131_073 + b",y", "csv_unreadable"),
        (b"a,b\0,c", None),
        (b"a\0,b,c", "bad_label"),
        (b'a,"b,c\n' * 3, None),
        (bytes(range(128, 256)), "csv_unreadable"),
        (b"x" * (9 << 20), "csv_unreadable"),
        (b"\x1b[31mred,b,c", "bad_label"),
        (b"a," + b"x" * 5000 + b",y", None),
    ],
    ids=["long field", "NUL in a path", "NUL in a label", "open quote", "binary", "large", "escape", "long path"],
)
def test_a_table_of_whatever_content_is_read_or_refused(tmp_path, content, code):
    (tmp_path / "pairs.csv").write_bytes(b"subject,input,target\n" + content)
    data = DataConfig(path=tmp_path / "pairs.csv", layout="csv")
    if code is not None:
        assert code_of(lambda: find_pairs(data)) == code
        return
    for checked in check_pairs(find_pairs(data), data, PET_TO_CT):
        assert {problem.code for problem in checked.problems} <= {"file_not_found", "missing_target"}


@pytest.mark.parametrize(
    "label",
    ["a\nb", "a\0", "\ud800", "\x1b[2J", "\u202eab", "", "  ", "a" * 201, 1.5, None, ["a"], {"a": 1}, True],
    ids=ascii,
)
def test_a_label_that_cannot_be_shown_is_refused(tmp_path, label):
    content = {"input": "p", "target": "c", "subjects": [{"subject": label, "p": "p.nii", "c": "c.nii"}]}
    (tmp_path / "manifest.json").write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(InputError) as refusal:
        find_pairs(DataConfig(path=tmp_path))
    assert refusal.value.code == ("bad_label" if isinstance(label, str) else "manifest_unreadable")
    assert refusal.value.sentence.isprintable()


@pytest.mark.parametrize("label", ["a/b", "..", "../../x", "C:\\x", "~", "con", "a*b", "Müller", "李", 7])
def test_any_other_label_is_one_and_never_a_path(tmp_path, label):
    content = {"input": "p", "target": "c", "subjects": [{"subject": label, "p": "p.nii", "c": "c.nii"}]}
    (tmp_path / "manifest.json").write_text(json.dumps(content), encoding="utf-8")
    (pair,) = find_pairs(DataConfig(path=tmp_path))
    assert pair.subject == str(label)
    assert file_stem(pair.subject).isalnum()


@pytest.mark.parametrize("other", ["p1", "P1 ", "\uff301", "P1_ses-2"])
def test_one_patient_under_two_labels_that_only_a_computer_tells_apart_is_refused(other):
    checked = [CheckedPair(PairFiles(label, None, None)) for label in ("P1", other, "q", "r", "s")]
    codes = [problem.code for problem in check_set(checked, SplitConfig())]
    assert codes == ([] if other == "P1_ses-2" else ["similar_labels"])


@pytest.mark.parametrize("layout", ["manifest", "csv", "pattern", "bids", "ixi"])
@pytest.mark.parametrize("path", ["x" * 5000, "a\0b", "\udcff", "~nobody/x"], ids=ascii)
def test_a_path_that_no_file_can_have_is_not_found(layout, path):
    settings = {"task": "mri_motion", "degradation": "motion"} if layout == "ixi" else {}
    data = DataConfig(path=path, layout=layout, input="{subject}p", target="{subject}c", **settings)
    assert code_of(lambda: find_pairs(data)) == "data_not_found"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes")
@pytest.mark.parametrize("layout", ["manifest", "csv", "pattern", "bids"])
def test_a_pipe_in_place_of_a_list_is_not_waited_for(tmp_path, layout):
    os.mkfifo(tmp_path / "pipe")
    data = DataConfig(path=tmp_path / "pipe", layout=layout, input="{subject}p", target="{subject}c")
    assert code_of(lambda: find_pairs(data)) in ("manifest_unreadable", "csv_unreadable", "no_pairs")
