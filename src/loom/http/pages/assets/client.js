// The page that tells how to install the client: puts the server's address into the commands.

for (const each of document.querySelectorAll(".server")) each.textContent = location.origin;
for (const each of document.querySelectorAll(".host")) each.textContent = location.host;
