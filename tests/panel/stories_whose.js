// An admin looks at one tenant after another.
"use strict";

const MAIL = "Subject: Order\nContent-Type: text/plain\n\nOrder 17 is ready.\n";

async function whose({ gateway, receiver, wrong, say, visitor }, pictures) {
  const id = await gateway.post(receiver.recipient("/gone/whose"), MAIL, "failed");
  const watched = await visitor("admin");
  const { page } = watched;
  const posts = async () => {
    await watched.go(`${gateway.origin}/posts`);
    return page.getByRole("link", { name: id }).count();
  };
  const choose = async (tenant) => {
    await page.getByLabel("Tenant", { exact: true }).selectOption(tenant);
    await page.getByRole("button", { name: "Show" }).click();
    await page.waitForURL(`${gateway.origin}/`);
  };
  say("posts of all", await posts(), 1);
  await choose("shop");
  wrong.push(...(await watched.examine("whose-shop", pictures)));
  say("posts of shop", await posts(), 0);
  say("what is chosen", await page.getByLabel("Tenant", { exact: true }).inputValue(), "shop");
  await choose("default");
  say("posts of default", await posts(), 1);
  await choose("");
  say("posts of all again", await posts(), 1);
  // On another page of the same browser, while live parts of these go on.
  const parts = await page.context().newPage();
  const tail = await page.context().newPage();
  await parts.goto(`${gateway.origin}/destinations`);
  await page.reload();
  await choose("shop");
  await parts.getByText("This page is of all tenants").waitFor();
  say("what is still shown", await parts.getByText(receiver.origin).count() > 0, true);
  await tail.goto(`${gateway.origin}/events`);
  await tail.locator("#tail-state", { hasText: "live" }).waitFor();
  await parts.getByRole("link", { name: "Look at what is chosen" }).click();
  await parts.waitForFunction(() => document.getElementById("elsewhere").hidden);
  say("what is shown then", await parts.getByText(receiver.origin).count(), 0);
  await parts.close();
  // A form of a page of before.
  await tail.goto(`${gateway.origin}/webhooks/new`);
  await tail.getByLabel("URL").first().fill("https://shop.example/hook");
  await choose("");
  await tail.getByRole("button", { name: /Make|Create|Save/ }).first().click();
  await tail.getByText("the form is of a page of the tenant shop").waitFor();
  await tail.close();
  const other = await visitor("operator");
  say("what others choose among", await other.page.getByLabel("Tenant", { exact: true }).count(), 0);
}

module.exports = { whose };
