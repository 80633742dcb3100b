// The configuration, edited: complaints lead to their lines, what differs is seen first, and
// nothing typed is lost.
"use strict";
const fs = require("node:fs");
const path = require("node:path");

async function config({ gateway, wrong, say, visitor }, pictures) {
  const file = path.join(gateway.home, "postgate.toml");
  const before = fs.readFileSync(file, "utf8");
  const watched = await visitor("admin");
  const { page } = watched;
  // Refusals are answered so.
  watched.allowed = /status of (403|412|422)/;
  const area = page.getByLabel("The file");
  const press = async (name) => {
    const loaded = page.waitForEvent("load");
    await page.getByRole("button", { name, exact: true }).click();
    await loaded;
  };
  await page.getByRole("link", { name: "Configuration" }).click();
  await area.waitFor();
  say("the file is there", await area.inputValue(), before);
  say("each line has its number", (await page.locator(".gutter").textContent()).trim().split("\n").length, before.split("\n").length);
  // The keyboard goes on from the text.
  await area.focus();
  await page.keyboard.press("Tab");
  say("Tab leads to", await page.evaluate(() => document.activeElement.textContent), "Check");
  const bad = before.replace("breaker = 0", 'breaker = "😀" # x');
  await area.fill(bad);
  await press("Check");
  wrong.push(...(await watched.examine("config-wrong", pictures)));
  say("what was typed", await area.inputValue(), bad);
  const complaint = page.locator("a[data-line]").first();
  const [line, column] = /Line (\d+), column (\d+)/.exec(await complaint.textContent()).slice(1).map(Number);
  await complaint.click();
  const at = await area.evaluate((one) => [document.activeElement === one, one.value.slice(0, one.selectionStart).split("\n")]);
  say("the link leads into the text", [at[0], at[1].length, at[1].pop().length + 1], [true, line, column]);
  say("its line", bad.split("\n")[line - 1], 'breaker = "😀" # x');
  say("the number of its line is marked", await page.locator(".gutter .wrong").allTextContents(), [`${line}\n`]);
  await area.fill(before.replace("breaker = 0", "breaker = 4"));
  await press("Check");
  await page.getByText("This would do as it is").waitFor();
  await press("Show difference");
  say("what is gone", await page.locator(".difference del").allTextContents(), ["-gone: breaker = 0"]);
  say("what is new", await page.locator(".difference ins").allTextContents(), ["+new: breaker = 4"]);
  wrong.push(...(await watched.examine("config-difference", pictures)));
  say("before it is applied", fs.readFileSync(file, "utf8"), before);
  // Somebody else is faster.
  fs.writeFileSync(file, `${before}\n# theirs\n`);
  await press("Apply");
  await page.getByText("nothing was applied").waitFor();
  wrong.push(...(await watched.examine("config-changed", pictures)));
  say("theirs is kept", fs.readFileSync(file, "utf8"), `${before}\n# theirs\n`);
  await press("Back to the text");
  await area.fill(`${await area.inputValue()}\n# theirs\n`);
  await press("Show difference");
  await press("Apply");
  await page.getByText("The file is written, and in force.").waitFor();
  wrong.push(...(await watched.examine("config-applied", pictures)));
  say("after it was applied", fs.readFileSync(file, "utf8"), `${before.replace("breaker = 0", "breaker = 4")}\n# theirs\n`);
  await press("Reload the file");
  await page.getByText("The file is in force as it stands").waitFor();
  // The browser asks before it forgets.
  await area.fill("typed");
  const asked = page.waitForEvent("dialog");
  await page.getByRole("link", { name: "Posts" }).click();
  say("the browser asks", (await asked).type(), "beforeunload");
  say("and what was typed is there", await area.inputValue(), "typed");
  // Signed out elsewhere meanwhile.
  await area.fill(before);
  const other = await page.context().newPage();
  await other.goto(`${gateway.origin}/`);
  await other.getByRole("button", { name: "Sign out" }).click();
  await other.getByLabel("API key").waitFor();
  await press("Check");
  say("what was typed when the session ended", await area.inputValue(), before);
  wrong.push(...(await watched.examine("config-signed-out", pictures)));
  await other.getByLabel("API key").fill(gateway.keys.admin);
  await other.getByRole("button", { name: "Sign in" }).click();
  await other.getByRole("link", { name: "Overview" }).waitFor();
  await press("Check");
  await press("Check");
  await page.getByText("This would do as it is").waitFor();
  say("what was typed at last", await area.inputValue(), before);
  say("troubles", watched.troubles().filter((one) => !one.startsWith("dialog:")), []);
}

module.exports = { config };
