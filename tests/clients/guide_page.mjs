// Step 8 of the guide: its query in its own words, with a list where the guide has JSX.
const driver = process.argv[2];
const { neon: connect, neonConfig } = await import(driver);
neonConfig.fetchEndpoint = () => process.env.ENDPOINT;

// The guide calls sql('...'), which 1.x renamed to sql.query('...').
const neon = (url, options) => {
  const sql = connect(url, options);
  return driver === 'neon-0' ? sql : (text) => sql.query(text);
};
const auth = () => ({ getToken: async () => process.env.TOKEN });

async function TodoList() {
  const sql = neon(process.env.DATABASE_AUTHENTICATED_URL, {
    authToken: async () => {
      const token = await auth().getToken();
      if (!token) {
        throw new Error('No token');
      }
      return token;
    },
  });

  // WHERE filter is optional because of RLS.
  // But we send it anyway for performance reasons.
  const todos = await sql('select * from todos where user_id = auth.user_id()');

  return todos.map((todo) => `<li>${todo.task}</li>`).join('\n');
}

console.log(await TodoList());
