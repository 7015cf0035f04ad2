import { StrictMode } from 'react';
import { createRoot } from 'react-dom/client';
import { currentUser } from './session';
import { Page } from './page';
import './style.css';

// Before anything is shown: a sign-in can be finished only once.
const user = await currentUser().catch(() => null);

createRoot(document.getElementById('root')!).render(
  <StrictMode>
    <Page user={user} />
  </StrictMode>,
);
