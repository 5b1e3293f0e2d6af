// The page of a trace: fold or unfold all of its waterfall at once.

const subtrees = document.querySelectorAll("details.subtree");
for (const [id, open] of [["expand", true], ["collapse", false]]) {
  const button = document.getElementById(id);
  button.hidden = subtrees.length === 0;
  button.addEventListener("click", () => subtrees.forEach((subtree) => (subtree.open = open)));
}
